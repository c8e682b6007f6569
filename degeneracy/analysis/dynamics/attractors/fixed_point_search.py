"""The search for states at rest: descent, Newton's steps, Jacobians, restarts, for all starts of all members at once.

Serves `fixed_points`. Each point moves on its own: what happens to it does not depend on its companions.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.analysis.recording import Array, StepFunction
from degeneracy.core.streams import generator

# Learning rate of the descent, in units of the visited states' root mean square. From a quarter of it on, and with 40
# to 300 updates, the same points were found in 15 flip-flop networks.
ADAM_RATE = 0.08
ADAM_MEMORY = 0.99  # of squared gradients: with 0.999, the steep beginning would brake all 100 updates
MAX_MIDPOINTS = 2048  # of the closest pairs; 27 points have 351
MAX_ITERATIONS = 40  # 6 to 10 are usual
# Shares of a step that are tried: from a midpoint the whole step seldom helps, and a shorter one costs no Jacobian.
SHARES = (1.0, 0.5, 0.25, 0.125)
ENOUGH = 0.9  # a step that leaves more of the speed is followed by a damped one
LEAST_DAMPING, MAX_DAMPING = 1e-2, 1e6
BLOCK = 256  # points whose distances to all others are taken at once
# Numbers in one batch of Jacobians (128 MB in float64), whatever the network and the number of starts.
JACOBIAN_BUDGET = 2**24
# An eigenvalue nearer to 1 than this is marginal: neither unstable, nor is the point isolated as far as it can be
# solved for (speed 1e-14 over 1e-6 is a position known to 1e-8).
MARGINAL = 1e-6


def scale(states: Tensor) -> Tensor:
    """Root mean square of each member's finite states, (member, 1, 1): the unit of length of its search."""
    mean_square = torch.nan_to_num(states, 0.0, 0.0, 0.0).square().mean((1, 2), keepdim=True)
    return mean_square.sqrt().clamp(min=1e-3)  # starts all at 0 have no scale of their own


def draw_starts(visited: Tensor, n_starts: int, noise: float, seed: int) -> Tensor:
    """Visited states, the same rows for every member so that no member's draw depends on its companions."""
    gen = generator(seed, "fixed_points")
    rows = torch.randperm(visited.shape[1], generator=gen)[:n_starts].to(visited.device)
    starts = visited.detach()[:, rows]
    if noise > 0:
        starts = starts + noise * scale(starts) * torch.randn(starts.shape[1:], generator=gen).to(starts)
    return starts


def move(step: StepFunction, h: Tensor, x: Tensor) -> Tensor:
    """step(h, x) - h, the movement in one step, (member, point, state)."""
    with torch.no_grad():
        return step.step(h, _held(x, h)) - h


def _held(x: Tensor, h: Tensor) -> Tensor:
    """The constant input (in,) at every member and point of h."""
    return x.to(h).expand(*h.shape[:2], -1)


def descend(step: StepFunction, starts: Tensor, x: Tensor, n_updates: int, inner: Tensor | None = None) -> Tensor:
    """Adam on q(h) = ||step(h, x) - h||^2 / 2 with a learning rate falling to 0, every start on its own.

    `inner` is the `affine_part` of the step, where it has one.
    """
    h = starts.clone()
    held, rate = _held(x, h), ADAM_RATE * scale(starts)
    first, second = torch.zeros_like(starts), torch.zeros_like(starts)
    for k in range(1, n_updates + 1):
        gradient = _gradient(step, h, held, inner)
        first.lerp_(gradient, 0.1)
        second.mul_(ADAM_MEMORY).addcmul_(gradient, gradient, value=1 - ADAM_MEMORY)
        size = (second / (1 - ADAM_MEMORY**k)).sqrt_().add_(1e-12)
        fall = (1 - k / (n_updates + 1)) / (1 - 0.9**k)
        h.sub_((first / size).mul_(rate * fall))
    return h


def coarse_ends(
    step: StepFunction,
    starts: Tensor,
    usable: Tensor,
    x: Tensor,
    near: Sequence[float],
    inner: Tensor | None,
    n_updates: int,
) -> list[Array]:
    """One state (the slowest) of each neighbourhood where the descent from a member's usable starts ends."""
    ends = descend(step, starts, x, n_updates, inner)
    speed = move(step, ends, x).norm(dim=-1)
    some = []
    for k, ok in enumerate(usable):
        order = torch.argsort(speed[k, ok], stable=True)
        some.append(distinct(host(ends[k, ok][order]), near[k]))
    return some


def _gradient(step: StepFunction, h: Tensor, held: Tensor, inner: Tensor | None) -> Tensor:
    """The gradient of q at h, (J - I)^T (step(h, x) - h)."""
    if inner is not None:
        with torch.no_grad():
            after = step.step(h, held)
            moved = after - h
            return ((1 - after.square()) * moved) @ inner.to(h.dtype) - moved
    with torch.enable_grad():
        h = h.detach().requires_grad_()
        speed_squared = (step.step(h, held) - h).square().sum()
        return torch.autograd.grad(0.5 * speed_squared, h)[0]


def affine_part(step: StepFunction, states: Tensor, x: Tensor) -> Tensor | None:
    """The matrices A where the step is h -> tanh(A h + b), (member, i, j); None where it is anything else.

    Such a step has the Jacobian diag(1 - step(h)^2) A, for which nothing has to be differentiated. Whether it is one
    is seen from its values: atanh(step(h)) must be affine in h at all of the states and half way to 0. That decides
    how a search gets on, not what it finds: a point counts as found by the speed of the step itself.

    Args:
        step: any differentiable step.
        states: (member, point, state); those where the step is not finite are left aside.
        x: the constant input, (in,).
    """
    h = states.double()
    usable = move(step, h, x).isfinite().all(-1)
    h = torch.where(usable[..., None], h, torch.zeros_like(h))
    after = step.step(h, _held(x, h)).detach()
    if not (after.abs() < 1).all() or not after.isfinite().all():
        return None
    one, image = _least_saturated(h, after)
    inner = jacobians(step, one, x)[:, 0] / (1 - image.square()).mT
    for states, images in ((h, after), (h / 2, step.step(h / 2, _held(x, h)).detach())):
        predicted = torch.tanh(torch.atanh(image) + (states - one) @ inner.mT)
        # 1e-9: rounding of sums of some hundred terms, through the derivative of atanh at the least saturated state.
        if not torch.allclose(predicted, images, rtol=0, atol=1e-9):
            return None
    return inner


def _least_saturated(h: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """The state of each member whose step is farthest from saturation, (member, 1, state), and its step."""
    least = after.abs().amax(dim=-1).argmin(dim=1)
    at = least[:, None, None].expand(-1, 1, h.shape[-1])
    return h.gather(1, at), after.gather(1, at)


def affine_step(step: StepFunction, inner: Tensor, states: Tensor, x: Tensor) -> StepFunction:
    """The step h -> tanh(A h + b) written out, under the one input x: a fraction of the time of a network's own step.

    It differs from the step itself by the rounding of A and b, which are seen at one state: about 1e-12.

    Args:
        step: any step that has an affine part.
        inner: that part, A, (member, i, j).
        states: those that `affine_part` saw.
        x: the constant input, (in,).
    """
    h = states.double()
    one, image = _least_saturated(h, step.step(h, _held(x, h)).detach())
    offset = torch.atanh(image) - one @ inner.mT

    def written_out(h: Tensor, _: Tensor) -> Tensor:
        drive = torch.baddbmm(offset.to(h.dtype), h, inner.mT.to(h.dtype))
        if drive.device.type != "cpu" or drive.dtype not in (torch.float32, torch.float64):
            return drive.tanh_()
        np.tanh(drive.numpy(), out=drive.numpy())  # a half to a sixth of the time of torch's
        return drive

    return replace(step, step=written_out)


def polish(
    step: StepFunction,
    states: Sequence[Array],
    x: Tensor,
    inner: Tensor | None = None,
    known: Sequence[Array] = (),
    near: Sequence[float] = (),
) -> list[tuple[Array, Array]]:
    """Where the states of each member, (point, state), come to rest, and their speeds there, the slowest first.

    With points `known` of each member, states that one of them catches are left there, with speed NaN: they come
    `near` to it (root mean square per unit) and are halfway or more. `inner` is the `affine_part` of the step.
    """
    n_units = states[0].shape[1]
    padded = _padded(states, 0.0)
    starts = torch.from_numpy(padded).to(step.visited.device)
    block = max(1, JACOBIAN_BUDGET // (len(states) * n_units**2))
    catch = None
    if any(map(len, known)):
        limit = torch.tensor([length * n_units**0.5 for length in near], dtype=starts.dtype).to(starts)
        catch = torch.from_numpy(_padded(known, np.inf)).to(starts), limit
    solved = [_solve(step, h, x, inner, catch) for h in torch.split(starts, block, dim=1)]
    ends, speeds = (host(torch.cat(parts, dim=1)) for parts in zip(*solved, strict=True))
    polished = []
    for h, speed, some in zip(ends, speeds, states, strict=True):
        order = np.argsort(speed[: len(some)], kind="stable")
        polished.append((h[order], speed[order]))
    return polished


def _padded(states: Sequence[Array], value: float) -> Array:
    """The states of all members, (member, point, state), filled up with a value."""
    padded = np.full((len(states), max(map(len, states)), states[0].shape[1]), value)
    for row, some in zip(padded, states, strict=True):
        row[: len(some)] = some
    return padded


def _caught(before: Tensor, after: Tensor, catch: tuple[Tensor, Tensor]) -> Tensor:
    """Which points a step has brought near a known point, to half the distance or less: the next steps end there.

    Args:
        before, after: (member, point, state).
        catch: the known points (member, known, state), and how near is near, (member,).
    """
    known, limit = catch
    # |a - b|^2 from products: its rounding, 1e-16 |a|^2, is far below the squares of distances in use.
    products = torch.baddbmm(known.square().sum(-1)[:, None], after, known.mT, alpha=-2.0)
    squared, which = torch.nan_to_num(products, nan=torch.inf).min(dim=-1)
    squared = squared + after.square().sum(-1)
    nearest = known.gather(1, which[..., None].expand_as(after))
    return (squared < limit[:, None].square()) & (4 * squared <= (before - nearest).square().sum(-1))


def _solve(
    step: StepFunction, h: Tensor, x: Tensor, inner: Tensor | None, catch: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Solves F(h) = step(h, x) - h = 0 by Newton's steps, damped where those do not help, each point on its own.

    Of each step the share that slows the point down most is taken; a step of which none does is not taken. A point
    is left alone once its speed is at round-off, its damping has grown past use, or a known point has caught it:
    then its speed is NaN.
    """
    h = h.clone()
    moved = move(step, h, x)
    speed = moved.norm(dim=-1)
    damping = torch.zeros_like(speed)
    for _ in range(MAX_ITERATIONS):
        length = h.norm(dim=-1).clamp(min=1.0)
        active = (speed > 64 * torch.finfo(h.dtype).eps * length) & (damping < MAX_DAMPING)
        width = int(active.sum(1).max())
        if width == 0:
            break
        some = torch.argsort(active, dim=1, descending=True, stable=True)[:, :width]  # (member, width)
        at = some[..., None].expand(-1, -1, h.shape[-1])
        h_now, moved_now = h.gather(1, at), moved.gather(1, at)
        speed_now, damping_now = speed.gather(1, some), damping.gather(1, some)
        whole = _whole_step(step, h_now, moved_now, x, inner, damping_now * speed_now**2)
        h_next, moved_next, speed_next = _best_share(step, h_now, whole, x, length.gather(1, some))
        better = active.gather(1, some) & (speed_next < speed_now)
        well = better & (speed_next < ENOUGH * speed_now)
        if catch is not None:
            speed_next = torch.where(_caught(h_now, h_next, catch), torch.nan, speed_next)
        h.scatter_(1, at, torch.where(better[..., None], h_next, h_now))
        moved.scatter_(1, at, torch.where(better[..., None], moved_next, moved_now))
        speed.scatter_(1, some, torch.where(better, speed_next, speed_now))
        relaxed = torch.where(damping_now > LEAST_DAMPING, damping_now / 4, 0.0)
        damping.scatter_(1, some, torch.where(well, relaxed, (damping_now * 8).clamp(min=LEAST_DAMPING)))
    return h, speed


def _best_share(
    step: StepFunction, h: Tensor, whole: Tensor, x: Tensor, longest: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the share of each step leads that ends slowest, the movement there and its speed.

    A share longer than `longest`, (member, point), counts as infinitely fast: near a singular Jacobian a step may lead
    anywhere.
    """
    shares = torch.tensor(SHARES, dtype=h.dtype, device=h.device)[:, None]
    ends = h[:, None] - shares[..., None] * whole[:, None]  # (member, share, point, state)
    moved = move(step, ends.flatten(1, 2), x).view_as(ends)
    short = shares * whole.norm(dim=-1)[:, None] <= longest[:, None]
    speed = torch.where(short, moved.norm(dim=-1), torch.inf).nan_to_num(torch.inf, torch.inf)
    least, which = speed.min(dim=1)
    at = which[:, None, :, None].expand(-1, 1, -1, h.shape[-1])
    return ends.gather(1, at)[:, 0], moved.gather(1, at)[:, 0], least


def _whole_step(
    step: StepFunction, h: Tensor, moved: Tensor, x: Tensor, inner: Tensor | None, damping: Tensor
) -> Tensor:
    """J^-1 F where the damping mu is 0, (J'J + mu I)^-1 J'F elsewhere; F is the movement at h, J its Jacobian."""
    slopes = 1 - (h + moved).square()[..., None]
    jacobian = jacobians(step, h, x) if inner is None else slopes * inner[:, None]
    jacobian.diagonal(dim1=-2, dim2=-1).sub_(1.0)
    damped = damping > 0
    n_damped = int(damped.sum())
    if n_damped == 0:
        return torch.linalg.solve_ex(jacobian, moved[..., None])[0][..., 0]
    whole = torch.empty_like(moved)
    if n_damped < damped.numel():
        whole[~damped] = torch.linalg.solve_ex(jacobian[~damped], moved[~damped][..., None])[0][..., 0]
    whole[damped] = _damped_step(jacobian[damped], moved[damped], damping[damped])
    return whole


def _damped_step(jacobian: Tensor, moved: Tensor, damping: Tensor) -> Tensor:
    """(J'J + mu I)^-1 J'F for Jacobians (point, i, j), movements (point, state) and mu (point,)."""
    gradient = jacobian.mT @ moved[..., None]
    normal = jacobian.mT @ jacobian
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    # At least 1e-14 of the mean curvature: the factorisation of a singular J'J must not fail by round-off.
    diagonal.add_((damping + 1e-14 * diagonal.mean(-1))[..., None])
    factor, _ = torch.linalg.cholesky_ex(normal)
    return torch.cholesky_solve(gradient, factor)[..., 0]


def jacobians(step: StepFunction, h: Tensor, x: Tensor) -> Tensor:
    """The derivatives d step(h, x)[i] / d h[j] at every point.

    Args:
        step: any differentiable step.
        h: states, (member, point, state).
        x: the constant input, (in,).

    Returns:
        (member, point, i, j); 0 where the next value of unit i does not depend on unit j.
    """
    with torch.enable_grad():
        h = h.detach().clone().requires_grad_()
        after = step.step(h, _held(x, h))
        units = torch.eye(h.shape[-1], dtype=h.dtype, device=h.device)
        try:  # all rows in one backward pass
            seeds = units[:, None, None].expand(-1, *h.shape)
            rows = torch.autograd.grad(after, h, seeds, is_grads_batched=True, retain_graph=True)[0]
        except RuntimeError:  # an operation of the user's cell that torch cannot batch: one pass per row
            passes = [torch.autograd.grad(after, h, u.expand_as(h), retain_graph=True)[0] for u in units]
            rows = torch.stack(passes)
    return rows.permute(1, 2, 0, 3).contiguous()


def distinct(points: Array, tolerance: float) -> Array:
    """The points, in order, that are farther than the tolerance (root mean square per unit) from all before."""
    kept, far = [], np.ones(len(points), dtype=bool)
    while far.any():
        some = np.flatnonzero(far)[:BLOCK]
        for k, away in zip(some, apart(points[some], points, tolerance), strict=True):
            if far[k]:
                kept.append(k)
                far &= away
        far[some] = False
    return points[kept]


def apart(some: Array, points: Array, tolerance: float) -> NDArray[np.bool_]:
    """Which of some points are farther than the tolerance from which of the others, (some, point)."""
    return _squared_distances(some, points) > tolerance**2 * points.shape[1]


def _squared_distances(some: Array, points: Array) -> Array:
    """|a - b|^2 from products: its rounding, 1e-16 |a|^2, is far below any tolerance in use."""
    squared = some @ points.T
    squared *= -2
    squared += (points**2).sum(axis=1)
    squared += (some**2).sum(axis=1)[:, None]
    return squared


def midpoints(points: Array, n_old: int, tolerance: float) -> Array:
    """Distinct midpoints of pairs with a point after the first `n_old`, themselves near no point."""
    first, second = np.triu_indices(len(points), k=1)
    first, second = first[second >= n_old], second[second >= n_old]
    length = _squared_distances(points, points)[first, second]
    closest = np.argsort(length, kind="stable")[:MAX_MIDPOINTS]
    middle = (points[first[closest]] + points[second[closest]]) / 2
    return distinct(middle[apart(middle, points, tolerance).all(axis=1)], tolerance)


def host(states: Tensor) -> Array:
    """The same numbers as a float64 array."""
    return states.detach().cpu().double().numpy()
