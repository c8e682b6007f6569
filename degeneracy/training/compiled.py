"""Loss, gradients and update of one member, compiled by numba: the fast path of the one-gate cells on a CPU.

The same backward through time as `backpropagation.py`, fused with clipping and Adam. Inputs and a 1 stand beside
the states in one array, so that one product a step drives the units and one more gives all weights' gradients while
their factors are in the cache; only the states of all steps are stored. Parameters, gradients and moments stay in
the flat order of `flatten`. Everything is float32; losses and norms are summed in float64.

Sizes: B trials, T steps, N units, I inputs, O outputs; N is padded to P, a multiple of `WIDTH`, B to a multiple of
`ROWS`, with zeros that stay zero.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from degeneracy.training.tiles import LEAST_ROWS, ROWS, WIDTH, product

TANH, RELU = 0, 1
Floats = NDArray[np.float32]

_ONE, _ZERO = np.float32(1), np.float32(0)
_TWO = np.float32(2)
# tanh x = x P(x^2) / Q(x^2), fitted by reweighted least squares to |x| <= 7.9, beyond which tanh is 1 in float32.
# Relative error of the fit 6e-9; of its float32 evaluation 3e-7 (a few roundings).
_LIMIT = np.float32(7.9)
_P1, _P2 = np.float32(0.13450621), np.float32(0.0035789919)
_P3, _P4 = np.float32(2.2023243e-05), np.float32(1.5427968e-08)
_Q1, _Q2 = np.float32(0.46783948), np.float32(0.026192237)
_Q3, _Q4 = np.float32(0.00034236503), np.float32(8.5987784e-07)

# "contract": a product and a sum in one instruction; "reassoc" (sums of vectors) only where dots are taken. Neither
# assumes that numbers are finite: a NaN stays one.
# Division as numpy's: a check for 0 would keep a loop from being vectorised.
_fused: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}
_summed: dict[str, Any] = {**_fused, "fastmath": {"contract", "reassoc"}}


def padded(size: int, multiple: int) -> int:
    """The next multiple at or above a size."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the arrays of an update are sized by."""

    n_trials: int
    n_steps: int
    n_units: int
    n_inputs: int
    n_outputs: int

    @property
    def rows(self) -> int:
        """Trials, padded."""
        return padded(self.n_trials, ROWS)

    @property
    def units(self) -> int:
        """Units, padded."""
        return padded(self.n_units, WIDTH)


def workspace(sizes: Sizes, *, leaky: bool) -> tuple[Floats, ...]:
    """The arrays that an update works in; used again by the next.

    Returns:
        states and inputs (T + 1, B, P + inputs and 1), activations of leaky units (T, B, P), carried states or
        gradients (B, P), gradients of the drive beside those of the outputs, of two steps (2, B, P + O), weights by
        source (P + inputs and 1, P), their gradient, recurrent and output weights (P + O, P), the outputs' gradient.
    """
    b, p, t = sizes.rows, sizes.units, sizes.n_steps
    sources, outputs = padded(sizes.n_inputs + 1, LEAST_ROWS), padded(sizes.n_outputs, LEAST_ROWS)
    states = _aligned(t + 1, b, p + padded(sources, WIDTH))
    states[:, : sizes.n_trials, p + sizes.n_inputs] = 1
    return (
        states,
        _aligned(t if leaky else 0, b, p),
        _aligned(b if leaky else 0, p),
        _aligned(2, b, p + padded(outputs, WIDTH)),
        _aligned(p + sources, p),
        _aligned(p + sources, p),
        _aligned(p + sizes.n_outputs, p),
        _aligned(outputs, p),
    )


def _aligned(*shape: int) -> Floats:
    """Zeros that begin at a cache line, as all their rows then do: a vector across two lines costs two loads."""
    line = 64
    memory = np.zeros(int(np.prod(shape)) * 4 + line, np.uint8)
    start = -memory.ctypes.data % line
    return memory[start : start + int(np.prod(shape)) * 4].view(np.float32).reshape(shape)


def _tanh(x: Any) -> Any:
    x = x if not x > _LIMIT else _LIMIT  # a NaN stays NaN
    x = x if not x < -_LIMIT else -_LIMIT
    u = x * x
    above = _ONE + u * (_P1 + u * (_P2 + u * (_P3 + u * _P4)))
    below = _ONE + u * (_Q1 + u * (_Q2 + u * (_Q3 + u * _Q4)))
    return x * above / below


tanh = njit(**_fused, inline="always")(_tanh)


@njit(**_fused)
def _spread(flat, n, n_in, n_out, by_source, back):  # type: ignore[no-untyped-def]
    """Lay out the flat parameters: rows by source (units, inputs, 1), and recurrent over output weights."""
    pad = by_source.shape[1]
    block = 16  # a transpose by blocks: both sides stay in the cache
    for j0 in range(0, n, block):
        for k0 in range(0, n, block):
            for j in range(j0, min(j0 + block, n)):
                row, to = flat[j * n : (j + 1) * n], back[j]
                for k in range(k0, min(k0 + block, n)):
                    by_source[k, j] = row[k]
                    to[k] = row[k]
    at = n * n
    for j in range(n):
        for i in range(n_in):
            by_source[pad + i, j] = flat[at + j * n_in + i]
    at += n * n_in
    for j in range(n):
        by_source[pad + n_in, j] = flat[at + j]
    at += n
    for o in range(n_out):
        for k in range(n):
            back[pad + o, k] = flat[at + o * n + k]


@njit(**_fused)
def _gather(by_source, outward, bias_out, n, n_in, n_out, flat):  # type: ignore[no-untyped-def]
    """The flat gradient from the gradients by source, of the output weights and of the output bias."""
    pad = by_source.shape[1]
    block = 16
    for j0 in range(0, n, block):
        for k0 in range(0, n, block):
            for j in range(j0, min(j0 + block, n)):
                row = flat[j * n : (j + 1) * n]
                for k in range(k0, min(k0 + block, n)):
                    row[k] = by_source[k, j]
    at = n * n
    for j in range(n):
        for i in range(n_in):
            flat[at + j * n_in + i] = by_source[pad + i, j]
    at += n * n_in
    for j in range(n):
        flat[at + j] = by_source[pad + n_in, j]
    at += n
    for o in range(n_out):
        for k in range(n):
            flat[at + o * n + k] = outward[o, k]
        flat[at + n_out * n + o] = bias_out[o]


@njit(**_fused)
def _activate(kind, x, n):  # type: ignore[no-untyped-def]
    """x = phi(x) in the first n columns. In place: a loop over two arrays that are one is not vectorised."""
    for b in range(len(x)):
        row = x[b, :n]
        if kind == RELU:
            for j in range(len(row)):
                row[j] = row[j] if not row[j] < _ZERO else _ZERO  # a NaN stays NaN
        else:
            for j in range(len(row)):
                row[j] = tanh(row[j])


@njit(**_fused)
def _mix(to, new, keep, take, n):  # type: ignore[no-untyped-def]
    """to = keep to + take new in the first n columns."""
    for b in range(len(to)):
        row, new_row = to[b, :n], new[b, :n]
        for j in range(len(row)):
            row[j] = keep * row[j] + take * new_row[j]


@njit(**_fused)
def _copy(to, x, n):  # type: ignore[no-untyped-def]
    """to = x in the first n columns."""
    for b in range(len(to)):
        row, x_row = to[b, :n], x[b, :n]
        for j in range(len(row)):
            row[j] = x_row[j]


@njit(**_fused)
def _forward(kind, alpha, current, states, active, carried, by_source, noise, n_in):  # type: ignore[no-untyped-def]
    """Run the units; `states` goes from inputs beside nothing to inputs beside what recurrent weights see."""
    n_steps, rows, row = len(states) - 1, states.shape[1], states.shape[2]
    pad = by_source.shape[1]
    flat, weights = states.reshape(-1), by_source.reshape(-1)
    noisy = noise.shape[1] > 0
    if current:
        carried[:] = _ZERO
    for t in range(n_steps):
        here, there = t * rows * row, (t + 1) * rows * row
        if noisy:
            for b in range(noise.shape[0]):
                drive, drawn = states[t + 1, b], noise[b, t]
                for j in range(len(drawn)):
                    drive[j] = drawn[j]
            states[t + 1, noise.shape[0] :, :pad] = _ZERO
        inner = pad + n_in + 1
        product(flat, there, row, flat, here, row, 1, weights, 0, pad, rows, pad, inner, noisy)
        state = states[
            t + 1
        ]  # its columns are cut in the rows: a cut matrix would not be known to be contiguous
        if current:
            _mix(carried, state, _ONE - alpha, alpha, pad)
            _copy(state, carried, pad)
            _activate(kind, state, pad)
        elif alpha < _ONE:
            _activate(kind, state, pad)
            _copy(active[t], state, pad)
            _mix(state, states[t], alpha, _ONE - alpha, pad)
        else:
            _activate(kind, state, pad)


@njit(**_summed)
def _read_out(states, back, bias_out, targets, weights, t, scale, errors, bias_grad):  # type: ignore[no-untyped-def]
    """Write step t's d loss / d output beside the units of `errors`, add it to `bias_grad`; returns its loss."""
    pad, n_out = back.shape[1], targets.shape[2]
    loss = 0.0
    for b in range(len(targets)):
        state, weight = states[b, :pad], weights[b, t] * scale
        for o in range(n_out):
            row = back[pad + o]
            out = _ZERO
            for j in range(len(state)):
                out += state[j] * row[j]
            error = out + bias_out[o] - targets[b, t, o]
            back_error = _TWO * weight * error
            errors[b, pad + o] = back_error
            bias_grad[o] += back_error
            loss += np.float64(weight * error) * np.float64(error)
    return loss


@njit(**_fused)
def _through_units(kind, alpha, current, grads, seen, active, carried, n):  # type: ignore[no-untyped-def]
    """Turn one step's `grads` from d loss / d (what weights see) into d loss / d drive, in the first n columns."""
    for b in range(len(grads)):
        grad, phi = grads[b, :n], seen[b, :n]
        if current:
            kept = carried[b]
            for j in range(len(grad)):
                kept[j] = (_ONE - alpha) * kept[j] + grad[j] * (_ONE - phi[j] * phi[j])
                grad[j] = alpha * kept[j]
        elif alpha < _ONE:
            kept, phi = carried[b], active[b]
            for j in range(len(grad)):
                kept[j] = (_ONE - alpha) * kept[j] + grad[j]
                grad[j] = alpha * kept[j] * (_ONE - phi[j] * phi[j])
        elif kind == RELU:
            for j in range(len(grad)):
                grad[j] = grad[j] if phi[j] > _ZERO else _ZERO * grad[j]
        else:
            for j in range(len(grad)):
                grad[j] = grad[j] * (_ONE - phi[j] * phi[j])


@njit(**_fused)
def gradients(  # type: ignore[no-untyped-def]
    kind, alpha, current, params, inputs, targets, loss_weights, noise, work, grads
):
    """Loss and flat gradient of one member.

    Args:
        kind: TANH or RELU.
        alpha: the leak, 1 for none.
        current: leaky units in the current form.
        params: (parameter,), in the order of `flatten`.
        inputs: (B, T, I), their noise included.
        targets: (B, T, O).
        loss_weights: (B, T).
        noise: (B, T, N) noise of the units, or (B, 0, N).
        work: what `workspace` made.
        grads: (parameter,), written to.
    """
    states, active, carried, pair, by_source, by_source_grad, back, out_grad = work
    n_trials, n_steps, n_in = inputs.shape
    n_out, n = targets.shape[2], noise.shape[2]
    rows, row, pad = states.shape[1], states.shape[2], back.shape[1]
    _spread(params, n, n_in, n_out, by_source, back)
    for t in range(n_steps):
        for b in range(n_trials):
            for i in range(n_in):
                states[t, b, pad + i] = inputs[b, t, i]
    _forward(kind, alpha, current, states, active, carried, by_source, noise, n_in)

    total = 0.0
    for b in range(n_trials):
        for t in range(n_steps):
            total += loss_weights[b, t]
    scale = np.float32(1 / (total * n_out))
    bias_out = params[len(params) - n_out :]
    bias_grad = np.zeros(n_out)
    by_source_grad[:] = _ZERO
    out_grad[:] = _ZERO
    carried[:] = _ZERO
    flat, both, wide = states.reshape(-1), pair.reshape(-1), pair.shape[2]
    loss = 0.0
    for step in range(n_steps):
        t = n_steps - 1 - step
        later, here = step % 2 * rows * wide, (step + 1) % 2 * rows * wide
        loss += _read_out(
            states[t + 1], back, bias_out, targets, loss_weights, t, scale, pair[step % 2], bias_grad
        )
        seen, before = (t + 1) * rows * row, t * rows * row
        product(
            out_grad.reshape(-1),
            0,
            pad,
            both,
            later + pad,
            1,
            wide,
            flat,
            seen,
            row,
            len(out_grad),
            pad,
            rows,
            True,
        )
        skip = pad if step == 0 else 0  # nothing comes from after the last step
        product(
            both, here, wide, both, later + skip, wide, 1, back.reshape(-1), skip * pad, pad, rows, pad,
            pad + n_out - skip, False,
        )  # fmt: skip
        phi = active[t] if len(active) > 0 else states[t + 1]
        _through_units(kind, alpha, current, pair[(step + 1) % 2], states[t + 1], phi, carried, pad)
        product(
            by_source_grad.reshape(-1), 0, pad, flat, before, 1, row, both, here, wide, len(by_source_grad), pad,
            rows, True,
        )  # fmt: skip
    _gather(by_source_grad, out_grad, bias_grad, n, n_in, n_out, grads)
    return loss


@njit(**_fused)
def update(  # type: ignore[no-untyped-def]
    kind, alpha, current, params, inputs, targets, loss_weights, noise, work, grads, first, second, constants
):
    """One update of one member in place: gradient, clipping, Adam; `optimisation.Adam` and `clip_norms` say how.

    Args:
        kind, alpha, current, params, inputs, targets, loss_weights, noise, work, grads: as of `gradients`.
        first: (parameter,), Adam's first moment.
        second: (parameter,), its second moment.
        constants: what `Adam.corrected` gives, and the largest norm of the gradient.

    Returns:
        The loss, and the gradient's norm before clipping.
    """
    rate, spread, beta1, beta2, eps, clip_norm = constants
    loss = gradients(kind, alpha, current, params, inputs, targets, loss_weights, noise, work, grads)
    squares = 0.0
    for j in range(len(grads)):
        squares += np.float64(grads[j]) * np.float64(grads[j])
    norm = np.sqrt(squares)
    ratio = clip_norm / (norm + 1e-6)
    scale = np.float32(ratio) if not ratio > 1 else _ONE  # a NaN norm makes all parameters NaN
    keep1, keep2, new1, new2 = (
        np.float32(beta1),
        np.float32(beta2),
        np.float32(1 - beta1),
        np.float32(1 - beta2),
    )
    step, narrow, least = np.float32(rate), np.float32(1 / spread), np.float32(eps)
    for j in range(len(grads)):
        grad = scale * grads[j]
        first[j] = keep1 * first[j] + new1 * grad
        second[j] = keep2 * second[j] + new2 * grad * grad
        params[j] -= step * first[j] / (np.sqrt(second[j]) * narrow + least)
    return loss, norm
