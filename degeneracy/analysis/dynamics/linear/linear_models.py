"""Linear models of one step of a network's dynamics, fitted to lag Grams (`lag_grams`).

With x_t the state h_t (or [h_t, ..., h_{t-n_delays+1}]) in its r leading principal axes, those of
Cov(x_t | u_{t+1}, 1) or of a covariance that less is taken out of:

    x_{t+1} = A x_t + B u_{t+1} + b + rest

A least-squares fit: what inputs and a constant explain is taken out of x_t and x_{t+1} alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import eigh

from degeneracy.analysis.lag_grams import Array, LagGrams

# Axes with under this share of the largest variance are rounding: a Gram matrix resolves 1e-16 of it, float32 states
# 1e-14. So are combinations of inputs.
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a linear model is fitted with.

    Args:
        rank: number of axes.
        n_delays: successive states that x_t has; 1 where all units are recorded.
        inputs: take out what the inputs u_{t+1} explain; else what they do counts as dynamics.
        centre: take out the mean; else it acts as an eigenvalue 1.
    """

    rank: int
    n_delays: int = 1
    inputs: bool = True
    centre: bool = True


@dataclass(frozen=True, kw_only=True)
class Step:
    """The fit of one member: all in its own axes, as many as were asked for; those that its states lack are 0."""

    a: Array  # (axis, axis), A: how the state's deviations are carried on
    b: Array  # (axis, in), B: what an input adds
    spread: Array  # (axis,): standard deviations along the axes, of what inputs and constant do not explain, falling
    predictor: Array  # (unit, axis + regressor): h_{t+1} from the axes of x_t and what was regressed out
    axes: Array  # (delay * unit, axis)
    form: Form
    origin: Array  # (unit + in,): what was taken away from states and inputs before the fit

    @cached_property
    def flow(self) -> Array:
        """(axis, axis), A S with S the spread: the covariance of x_{t+1} with x_t in units of spread of x_t."""
        return self.a * self.spread

    @cached_property
    def whitened(self) -> Array:
        """(axis, axis), S^{-1} A S: the operator of states that have the same spread in all axes."""
        there = np.where(self.spread > 0, self.spread, 1.0)
        return self.flow / there[:, None]


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """Sums over steps t of products of x_t, x_{t+1} and the regressors of x_{t+1}, and of h_{t+1}."""

    now: Array  # x_t x_t^T
    across: Array  # x_{t+1} x_t^T
    given: Array  # r r^T
    given_now: Array  # r x_t^T
    given_next: Array  # r x_{t+1}^T
    ahead: Array  # h_{t+1} h_{t+1}^T
    n: float


def _moments(grams: LagGrams, form: Form) -> _Moments:
    gram = grams.gram(form.n_delays)
    if not form.centre:
        gram = _about_zero(gram, grams.centre)
    n_units, size = grams.n_units, gram.shape[1]
    regressors = np.arange(n_units if form.inputs else size - 1, size if form.centre else size - 1)
    hidden = gram[:, :n_units, :, :n_units]
    width = form.n_delays * n_units
    of_next = gram[0, regressors]  # (regressor, block, number)
    return _Moments(
        now=hidden[1:, :, 1:].reshape(width, width),
        across=hidden[:-1, :, 1:].reshape(width, width),
        given=of_next[:, 0, regressors],
        given_now=of_next[:, 1:, :n_units].reshape(-1, width),
        given_next=of_next[:, :-1, :n_units].reshape(-1, width),
        ahead=hidden[0, :, 0],
        n=float(gram[0, -1, 0, -1]),
    )


def _about_zero(gram: Array, centre: Array) -> Array:
    """The Gram of z + [centre, 0], the last number of z being the constant 1."""
    back = np.eye(gram.shape[1])
    back[:-1, -1] = centre
    return np.einsum("ab,ibjc,dc->iajd", back, gram, back, optimize=True)


def _inverse(matrix: Array) -> Array:
    """The pseudo-inverse of a Gram matrix, each regressor taken at its own size."""
    size = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    there = np.where(size > 0, size, 1.0)
    return np.linalg.pinv(matrix / np.outer(there, there), rcond=LEAST_VARIANCE, hermitian=True) / np.outer(
        there, there
    )


def fit_step(grams: LagGrams, form: Form) -> Step:
    """The least-squares linear model of one step of a member.

    Args:
        grams: of its states and inputs, of as many lags as the form has delays, or more.
        form: what is fitted.
    """
    moments = _moments(grams, form)
    rank = form.rank
    inverse = _inverse(moments.given)
    explained = inverse @ moments.given_now
    now = moments.now - moments.given_now.T @ explained
    across = moments.across - moments.given_next.T @ explained
    variance, vectors = _leading(now, min(rank, len(now)))
    there = variance > LEAST_VARIANCE * max(variance[0], 0.0)
    n_there, width = int(there.sum()), len(now)
    axes, spread = np.zeros((width, rank)), np.zeros(rank)
    axes[:, :n_there] = vectors[:, :n_there]
    spread[:n_there] = np.sqrt(variance[:n_there] / moments.n)
    carried = np.zeros((width, rank))  # x_{t+1} from the axes of x_t
    carried[:, :n_there] = across @ axes[:, :n_there] / variance[:n_there]
    added = (moments.given_next.T - carried @ axes.T @ moments.given_now.T) @ inverse  # x_{t+1} from the regressors
    n_inputs = grams.n_inputs if form.inputs else 0
    return Step(
        a=axes.T @ carried,
        b=axes.T @ added[:, :n_inputs],
        spread=spread,
        predictor=np.hstack([carried, added])[: grams.n_units],
        axes=axes,
        form=form,
        origin=grams.centre,
    )


def _leading(matrix: Array, rank: int) -> tuple[Array, Array]:
    values, vectors = eigh(matrix, subset_by_index=(len(matrix) - rank, len(matrix) - 1))
    return values[::-1], vectors[:, ::-1]


def held_out_error(step: Step, grams: LagGrams) -> float:
    """The share of the variance of h_{t+1} that a model leaves unexplained on trials that it was not fitted to.

    Args:
        step: fitted to other trials of the same member.
        grams: of the trials to predict.

    Returns:
        0: every step is predicted; 1: no better than the mean of these trials; more than 1 is possible.
    """
    assert np.array_equal(step.origin, grams.centre), "halves of trials have one centre"
    moments = _moments(grams, step.form)
    on_axes = step.axes.T @ moments.now @ step.axes
    given_axes = moments.given_now @ step.axes
    gram = np.block([[on_axes, given_axes.T], [given_axes, moments.given]])
    n_units = grams.n_units
    with_ahead = np.hstack([moments.across[:n_units] @ step.axes, moments.given_next[:, :n_units].T])
    predictor = step.predictor
    left = np.trace(moments.ahead) - 2 * np.sum(predictor * with_ahead) + np.sum((predictor @ gram) * predictor)
    mean = grams.gram(step.form.n_delays)[0, :n_units, 0, -1] / moments.n
    if not step.form.centre:
        mean = mean + grams.centre[:n_units]
    variance = np.trace(moments.ahead) - moments.n * mean @ mean
    return float(left / variance) if variance > 0 else float("nan")


def mean_held_out_error(halves: Sequence[LagGrams], steps: Sequence[Step]) -> float:
    """The mean over two halves of trials of the held-out error of the model that was fitted to the other half."""
    first, second = halves
    one, other = steps
    return (held_out_error(one, second) + held_out_error(other, first)) / 2


RANKS, DELAYS = (5, 10, 15, 20, 25, 30), (1, 3, 5, 10)
TOLERATED = 1.1  # times the least held-out error
SMALL_ERROR = 1e-4  # a share of the variance that is not worth another axis


def held_out_errors(halves: tuple[Sequence[LagGrams], Sequence[LagGrams]], forms: Sequence[Form]) -> Array:
    """The held-out error of one step of each member by models of several forms, (form, member)."""
    members = list(zip(*halves, strict=True))
    return np.array(
        [[mean_held_out_error(pair, [fit_step(grams, form) for grams in pair]) for pair in members] for form in forms]
    )


def least_form(forms: Sequence[Form], errors: Sequence[float]) -> int:
    """The position of the form with the fewest delays, and then the least rank, that does about as well as any.

    That is one whose error is within a tenth of the least of all, or of `SMALL_ERROR` where that is more.
    """
    enough = TOLERATED * max(min(errors), SMALL_ERROR)
    return min(
        (k for k, error in enumerate(errors) if error <= enough), key=lambda k: (forms[k].n_delays, forms[k].rank)
    )


def choose_form(halves: tuple[Sequence[LagGrams], Sequence[LagGrams]], form: Form) -> Form:
    """The form with rank and number of delays by held-out error, which looks at each member by itself.

    Of `DELAYS` and `RANKS` that the sums allow, the least (`least_form`) by the mean error over members, on the half of
    the trials that the model was not fitted to.
    """
    width, most = halves[0][0].n_units, halves[0][0].n_lags
    forms = [
        replace(form, rank=rank, n_delays=n_delays)
        for n_delays in (n for n in DELAYS if n <= most)
        for rank in sorted({min(rank, n_delays * width) for rank in RANKS})
    ]
    return forms[least_form(forms, held_out_errors(halves, forms).mean(axis=1).tolist())]


def input_responses(grams: LagGrams, n_input_lags: int) -> Array:
    """How the state answers inputs of the last steps: by regression, in units of the inputs' spread.

    The coefficients of h_t on U_t = [u_t, u_{t-1}, ..., u_{t-n_input_lags}] and a constant, times Cov(U_t)^(1/2): those
    of independent inputs of one variance are its root times the impulse response. Combinations of inputs that hardly
    vary weigh as little as they vary, so that inputs that follow one another smoothly do no harm.

    Returns:
        (unit, number), a number being an input of one of the steps, the latest step first.
    """
    with_state, covariance = grams.answers(n_input_lags)
    values, vectors = eigh(covariance)
    there = values > LEAST_VARIANCE * max(values[-1], 0.0)
    return np.asarray(with_state @ (vectors[:, there] / np.sqrt(values[there])) @ vectors[:, there].T)
