"""The search for the matching of an `Assignment`: Frank-Wolfe from several starts, then local search.

FAQ (Vogelstein et al. 2015, PLOS ONE 10:e0121002) for several blocks at once and with signs: Frank-Wolfe over the
convex hull of pairs (P, Q = P diag(signs)), whose linear step is one linear assignment, then local search. Half of
the starts are fresh, the others lead away from the best end so far; gradients are in float32, results in float64.
"""

from dataclasses import dataclass

import numpy as np

from degeneracy.analysis.matching.assignment import Assignment, by_class
from degeneracy.analysis.matching.linear_assignment import Matching, Single, assign
from degeneracy.analysis.matching.local_search import polish
from degeneracy.analysis.recording import Array
from degeneracy.core.compiling import compiled

# Frank-Wolfe stops when its bound on what is left to gain is this share of ||X|| ||Y||. On trained 64-unit networks
# the distance then ends no higher than with 1e-4, at three quarters of the steps: the starts to come make up for it.
GAP = 3e-4
# How much of a random matching is mixed into the barycentre by fresh starts, in turn.
PERTURBATIONS = (0.3, 0.1, 0.3, 1.0)
# How much of the best matching stays in starts that lead away from it, in turn; the rest is a random matching.
KEPT = (0.4, 0.5, 0.4, 0.0)
# Matchings this share of ||X|| ||Y|| below it or less are of the same network, to the rounding of the search.
EXACT = 1e-6
POWERS = 40  # of the matrix whose leading eigenvector gives signs; exact for planted matchings after 10
# Units, of all ends together, that local search polishes: in large networks it shortens the best by 0.1% and brings no
# other before it, in small ones it finds optima that no start leads to.
POLISHED = 64
STAGES = (3, 4)  # Frank-Wolfe steps after which half of the fresh starts are dropped, then all but the best


@dataclass
class _Point:
    """A point of the search, moved in place: a mean of the barycentre and the matchings it went towards."""

    gradient: Single  # (kind, unit, unit), of the whole objective
    quadratic: float  # <quadratic part's gradient, point>: twice its value
    linear: float
    corners: list[tuple[float, Matching, Single]]  # shares, matchings, signs
    stopped: bool = False

    @property
    def value(self) -> float:
        return self.quadratic / 2 + self.linear


@dataclass(frozen=True, kw_only=True)
class _End:
    """A matching that a start ended in."""

    matching: Matching
    signs: Single
    gradient: Single  # of the quadratic part
    value: float
    stopped: bool


def solve(problem: Assignment, *, n_restarts: int, max_iter: int, seed: int) -> list[tuple[Matching, Array, bool]]:
    """The matchings that starts end in, the best first.

    Args:
        problem: what to maximise.
        n_restarts: starts; the first is matched by signature, the others of the first half (and one) are perturbed
            barycentres, of which the best goes on; each later one is a mean of the best end and a random matching.
        max_iter: most Frank-Wolfe steps per start.
        seed: of the perturbations.

    Returns:
        For each start that was not dropped: the matching, its signs (unit,), and whether it converged, that is,
        Frank-Wolfe stopped by itself. The first of them (one, more in small networks) are polished: if they
        converged, no swap of two units nor flip of one improves them.
    """
    rng = np.random.default_rng(seed)
    prices = np.zeros(problem.linear.shape[-1], np.float32)
    n_fresh, n_polished = n_restarts // 2 + 1, max(1, POLISHED // len(prices))
    points = _fresh_starts(problem, n_fresh, rng, prices)
    left = max_iter
    for steps, n_kept in zip(STAGES, ((n_fresh + 1) // 2, 1), strict=True):
        for point in points:
            _ascend(problem, point, min(steps, left), prices)
        left = max(0, left - steps)
        points = sorted(points, key=lambda point: -point.value)[:n_kept]
    _ascend(problem, points[0], left, prices)
    ends = [_end(problem, points[0], prices)]
    for k in range(n_restarts - n_fresh):
        if ends[0].value > (1 - EXACT) * problem.scale:  # the same network: there is nothing above
            break
        point = _away(problem, ends[0], *_random_matching(problem, rng), KEPT[k % len(KEPT)])
        _ascend(problem, point, max_iter, prices)
        ends = sorted([*ends, _end(problem, point, prices)], key=lambda end: -end.value)
    return [_result(problem, end, polished=k < n_polished) for k, end in enumerate(ends)]


def _result(problem: Assignment, end: _End, *, polished: bool) -> tuple[Matching, Array, bool]:
    """What `solve` says of an end."""
    signs = end.signs.astype(np.float64)
    if not polished:
        return end.matching, signs, end.stopped
    matching, signs, settled = polish(problem, end.matching, signs)
    return matching, signs, settled and end.stopped


@compiled()
def _at(matrix: Single, matching: Matching, signs: Single) -> float:
    """<matrix, (Q, P)> at a matching."""
    total = 0.0
    for i in range(len(matching)):
        total += matrix[0, i, matching[i]] * signs[i]
    for kind in range(1, len(matrix)):
        for i in range(len(matching)):
            total += matrix[kind, i, matching[i]]
    return total


# Starts: none knows of the order that units come in.


def _random_matching(problem: Assignment, rng: np.random.Generator) -> tuple[Matching, Single]:
    n = problem.linear.shape[-1]
    signs = rng.choice([-1.0, 1.0], size=n) if problem.signed else np.ones(n)
    matching = np.arange(n)
    for rows, columns in problem.classes:
        matching[rows] = rng.permutation(np.arange(n)[columns])
    return matching, signs.astype(np.float32)


def _fresh_starts(problem: Assignment, n_starts: int, rng: np.random.Generator, prices: Single) -> list[_Point]:
    """The signature matching, then barycentres with some of a random matching."""
    points = [_barycentre(problem) for _ in range(n_starts)]
    _move(problem, points[0], *signature(problem, prices), 1.0)
    for k, point in enumerate(points[1:]):
        _move(problem, point, *_random_matching(problem, rng), PERTURBATIONS[k % len(PERTURBATIONS)])
    return points


def _barycentre(problem: Assignment) -> _Point:
    """The mean of all matchings within classes, and of all signs."""
    n = problem.linear.shape[-1]
    gradient = np.zeros_like(problem.linear32)
    n_signed = 2 * len(problem.x.own)
    if not problem.signed or len(problem.x.other):
        first = n_signed if problem.signed else 0  # Q is 0: each sign is as likely as the other
        for rows, columns in problem.classes:
            sums = problem.x.left[0].reshape(n, -1, n)[:, :, rows].sum(axis=2)  # (unit, term)
            gradient[0] += sums[:, first:] @ problem.y.right[0][:, columns].mean(axis=1)[first:]
    linear = problem.linear32[1:] if problem.signed else problem.linear32
    quadratic = float(sum(gradient[0][rows][:, columns].mean(axis=1).sum() for rows, columns in problem.classes))
    at_linear = float(sum(linear[:, rows][:, :, columns].mean(axis=2).sum() for rows, columns in problem.classes))
    return _Point(gradient + problem.linear32, 0.0 if problem.signed else quadratic, at_linear, [])


def _away(problem: Assignment, end: _End, matching: Matching, signs: Single, kept: float) -> _Point:
    """The mean of the best end so far and a random matching."""
    linear = _at(problem.linear32, end.matching, end.signs)
    corners = [(1.0, end.matching, end.signs)]
    point = _Point(end.gradient + problem.linear32, 2 * (end.value - linear), linear, corners)
    _move(problem, point, matching, signs, 1 - kept)
    return point


def _end(problem: Assignment, point: _Point, prices: Single) -> _End:
    """The matching nearest to where a start ended."""
    matching, signs = _nearest(problem, _position(problem, point), prices.copy())
    gradient = _corner_gradient(problem, matching, signs)
    value = _at(gradient, matching, signs) / 2 + _at(problem.linear32, matching, signs)
    return _End(matching=matching, signs=signs, gradient=gradient, value=value, stopped=point.stopped)


def _position(problem: Assignment, point: _Point) -> Single:
    """The point (Q, P), but for what the barycentre adds: the same to all of Q and of P."""
    z = np.zeros_like(problem.linear32)
    for share, matching, signs in point.corners:
        _add(z, np.float32(share), matching, signs)
    return z


@compiled()
def _add(z: Single, share: np.float32, matching: Matching, signs: Single) -> None:
    """z += share (Q, P) of a matching."""
    for i in range(len(matching)):
        z[0, i, matching[i]] += share * signs[i]
        for kind in range(1, len(z)):
            z[kind, i, matching[i]] += share


def signature(problem: Assignment, prices: Single) -> tuple[Matching, Single]:
    """The matching of units whose sorted weights look alike, whatever the order of their partners.

    Where units have signs, weights are first replaced by what signs leave alone. Recovers planted matchings under
    noise where Frank-Wolfe from the barycentre does not.
    """
    similarity = problem.x.looks @ problem.y.looks.T + problem.linear32[1:].sum(axis=0)
    similarity += np.abs(problem.linear32[0]) if problem.signed else problem.linear32[0]
    matching = by_class(problem, similarity, assign, prices)
    ones = np.ones(len(matching), np.float32)
    return matching, _best_signs(problem, matching) if problem.signed else ones


def _best_signs(problem: Assignment, matching: Matching) -> Single:
    """Good signs for a matching: those of the leading eigenvector, exact where the matching is planted."""
    order = np.ix_(matching, matching)
    quadratic = np.zeros((len(matching), len(matching)))
    for x, y in zip(problem.x.own, problem.y.own, strict=True):
        quadratic += x * y[order]
    linear = problem.linear[0, np.arange(len(matching)), matching]
    for x, y in zip(problem.x.other, problem.y.other, strict=True):
        linear = linear + (x * y[order]).sum(axis=0)
    symmetric = quadratic + quadratic.T
    # Power iteration: shifted by the norm over sqrt(2), no eigenvalue below 0 is larger in modulus.
    symmetric[np.diag_indices(len(matching))] += np.linalg.norm(symmetric) / np.sqrt(2)
    vector = np.ones(len(matching))
    for _ in range(POWERS):
        vector = symmetric @ vector
        vector /= np.linalg.norm(vector) + np.finfo(float).tiny
    signs = np.where(vector < 0, -1.0, 1.0)
    return (-signs if linear @ signs < 0 else signs).astype(np.float32)


# Frank-Wolfe


def _ascend(problem: Assignment, point: _Point, steps: int, prices: Single) -> None:
    """Frank-Wolfe steps with exact line search, until one has no more to gain than GAP."""
    for _ in range(steps):
        if point.stopped:
            return
        matching, signs = _nearest(problem, point.gradient, prices)
        point.stopped = _move(problem, point, matching, signs, None)


def _move(problem: Assignment, point: _Point, matching: Matching, signs: Single, share: float | None) -> bool:
    """Moves a point towards a matching: by a share of the way, or (None) to the best point on it.

    Returns:
        True where the best point was asked for and there is no more than GAP to gain: the point was left in place.
    """
    linear = _at(problem.linear32, matching, signs)
    cross = _at(point.gradient, matching, signs) - linear
    slope = cross - point.quadratic + linear - point.linear
    if share is None and slope <= GAP * problem.scale:
        return True
    gradient = _corner_gradient(problem, matching, signs)
    corner = _at(gradient, matching, signs)
    if share is None:  # along the line the objective is value + slope a + curvature a^2
        curvature = (point.quadratic + corner) / 2 - cross
        share = min(1.0, -slope / (2 * curvature)) if curvature < 0 else 1.0
    a, b = share, 1 - share
    point.quadratic = b**2 * point.quadratic + 2 * a * b * cross + a**2 * corner
    point.linear += a * (linear - point.linear)
    point.corners = [(b * weight, p, s) for weight, p, s in point.corners] + [(a, matching, signs)]
    gradient += problem.linear32
    gradient *= np.float32(a)
    point.gradient *= np.float32(b)
    point.gradient += gradient
    return False


def _corner_gradient(problem: Assignment, matching: Matching, signs: Single) -> Single:
    """The quadratic part's gradient at a matching, where Q Y is a reordering of Y; (kind, unit, unit)."""
    n = len(matching)
    out = np.empty_like(problem.linear32)
    for kind, (left, right) in enumerate(zip(problem.x.left, problem.y.right, strict=True)):
        rows = right.take(matching, axis=1)
        if problem.signed:
            rows[: 2 * len(problem.x.own) if kind == 0 else None] *= signs[:, None]
        np.matmul(left, rows.reshape(-1, n), out=out[kind])
    return out


def _nearest(problem: Assignment, profits: Single, prices: Single) -> tuple[Matching, Single]:
    """The matching and signs of most profit, the linear assignment over (kind, unit, unit)."""
    if not problem.signed:
        matching = by_class(problem, profits[0], assign, prices)
        return matching, np.ones(len(matching), np.float32)
    total = np.abs(profits[0])
    for more in profits[1:]:
        total += more
    matching = by_class(problem, total, assign, prices)
    chosen = profits[0, np.arange(len(matching)), matching]
    return matching, np.where(chosen < 0, np.float32(-1), np.float32(1))
