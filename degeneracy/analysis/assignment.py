"""The quadratic assignment behind weight distances: matchings of units, with signs, that make two networks agree.

FAQ (Vogelstein et al. 2015, PLOS ONE 10:e0121002) for several blocks at once and with signs: Frank-Wolfe over the
convex hull of pairs (P, Q = P diag(signs)), whose linear step is one linear assignment, then local search.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from degeneracy.analysis.recording import Array

Matching = NDArray[np.int64]  # (unit,): x's unit i is matched to y's unit matching[i]

# Frank-Wolfe stops when its bound on what is left to gain is this share of ||X|| ||Y||. On trained 64-unit networks
# that leaves the distance 1e-4 (relative) above where 1e-6 ends, a hundredth of the spread between starts.
GAP = 1e-4
# How much of a random matching is mixed into the barycentre, in turn: little ends higher in large networks, where the
# data then decide and not the draw; all of it reaches more optima of small ones.
PERTURBATIONS = (0.1, 0.1, 0.1, 1.0)
# Frank-Wolfe steps before the worse half of the starts is dropped, twice.
STAGES = (10, 10)
# A local move must gain this share of ||X|| ||Y||: more than rounding, or the search could go in circles.
GAIN = 1e-12


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Maximise sum_own <X, Q Y Q^T> + sum_other <X, P Y Q^T> + <L_0, Q> + <L_1, P> over Q = P diag(signs).

    `own` gates are those whose rows change sign with the unit (all gates where there are no signs: then Q = P),
    `other` those whose rows do not. Without `other` gates P plays no part: there is one kind of matrix, else two.
    """

    x_own: Array  # (gate, unit, unit)
    y_own: Array
    x_other: Array  # (gate, unit, unit), possibly no gate
    y_other: Array
    linear: Array  # (kind, unit, unit): profit of matching x's unit i to y's unit k; kind 0 takes the sign
    signed: bool
    scale: float  # ||X|| ||Y|| over all blocks: the unit of profit


@dataclass
class _Point:
    """A point of the search, moved in place."""

    z: Array  # (kind, unit, unit): Q, P
    gradient: Array  # (kind, unit, unit), of the whole objective
    quadratic: float  # <quadratic part's gradient, z>: twice its value
    linear: float
    stopped: bool = False

    @property
    def value(self) -> float:
        return self.quadratic / 2 + self.linear


def solve(
    problem: Assignment, *, n_restarts: int, max_iter: int, seed: int
) -> list[tuple[Matching, Array, bool]]:
    """The matchings that the better starts end in.

    Args:
        problem: what to maximise.
        n_restarts: starts; the first is matched by signature, the others are perturbed barycentres.
        max_iter: most Frank-Wolfe steps a start.
        seed: of the perturbations.

    Returns:
        For each start that was not dropped: the matching, its signs (unit,), and whether it converged, that is,
        Frank-Wolfe stopped by itself and no swap of two units or flip of one improves the result.
    """
    points = _starts(problem, n_restarts, np.random.default_rng(seed))
    left = max_iter
    for steps in STAGES:
        for point in points:
            _ascend(problem, point, min(steps, left))
        left = max(0, left - steps)
        points = sorted(points, key=lambda point: -point.value)[: (len(points) + 1) // 2]
    results = []
    for point in points:
        _ascend(problem, point, left)
        matching, signs, settled = polish(problem, *_nearest(problem, point.z))
        results.append((matching, signs, settled and point.stopped))
    return results


def profit(problem: Assignment, matching: Matching, signs: Array) -> float:
    """What is maximised, at one matching."""
    own, other = _matched(problem, matching, signs)
    linear = _at(problem.linear, matching, signs)
    return float(np.vdot(problem.x_own, own) + np.vdot(problem.x_other, other) + linear)


def _matched(problem: Assignment, matching: Matching, signs: Array) -> tuple[Array, Array]:
    """Y's own and other gates with units relabelled."""
    own = problem.y_own[:, matching][:, :, matching] * signs * signs[:, None]
    other = problem.y_other[:, matching][:, :, matching] * signs
    return own, other


def _at(matrix: Array, matching: Matching, signs: Array) -> float:
    """<matrix, (Q, P)> at a matching."""
    chosen = matrix[:, np.arange(len(matching)), matching]
    return float(chosen[0] @ signs + chosen[1:].sum())


# Starts: none knows of the order that units come in.


def _starts(problem: Assignment, n_restarts: int, rng: np.random.Generator) -> list[_Point]:
    """The signature matching, then barycentres with some of a random matching."""
    n = problem.linear.shape[-1]
    points = [_point(problem, *signature(problem), 1.0)]
    for start in range(n_restarts - 1):
        signs = rng.choice([-1.0, 1.0], size=n) if problem.signed else np.ones(n)
        points.append(_point(problem, rng.permutation(n), signs, PERTURBATIONS[start % len(PERTURBATIONS)]))
    return points


def _point(problem: Assignment, matching: Matching, signs: Array, amount: float) -> _Point:
    """The barycentre with some of a matching mixed in."""
    kinds, n, _ = problem.linear.shape
    z = np.full((kinds, n, n), (1 - amount) / n)
    if problem.signed:
        z[0] = 0.0  # of Q: each sign is as likely as the other
    units = np.arange(n)
    z[0, units, matching] += amount * signs
    z[1:, units, matching] += amount
    gradient = np.zeros_like(z)
    for x, y in zip(problem.x_own, problem.y_own, strict=True):
        gradient[0] += x @ z[0] @ y.T + x.T @ z[0] @ y
    for x, y in zip(problem.x_other, problem.y_other, strict=True):
        gradient[0] += x.T @ z[1] @ y
        gradient[1] += x @ z[0] @ y.T
    quadratic = float(np.vdot(gradient, z))
    return _Point(z, gradient + problem.linear, quadratic, float(np.vdot(problem.linear, z)))


def signature(problem: Assignment) -> tuple[Matching, Array]:
    """The matching of units whose sorted weights look alike, whatever the order of their partners.

    Where units have signs, weights are first replaced by what signs leave alone. Recovers planted matchings under
    noise where Frank-Wolfe from the barycentre does not.
    """
    gates = [(problem.x_own, problem.y_own), (problem.x_other, problem.y_other)]
    similarity = problem.linear[0]
    if problem.signed:
        gates = [
            (_invariants(problem.x_own), _invariants(problem.y_own)),
            (abs(problem.x_other), abs(problem.y_other)),
        ]
        similarity = abs(similarity)
    similarity = similarity + problem.linear[1:].sum(axis=0)
    for xs, ys in gates:
        similarity = similarity + (np.sort(xs, axis=2) @ np.sort(ys, axis=2).transpose(0, 2, 1)).sum(axis=0)
        similarity = similarity + (np.sort(xs, axis=1).transpose(0, 2, 1) @ np.sort(ys, axis=1)).sum(axis=0)
    matching = _assign(similarity)
    return matching, _best_signs(problem, matching) if problem.signed else np.ones(len(matching))


def _invariants(gates: Array) -> Array:
    """Six matrices that W -> S W S leaves alone and a permutation permutes alike, for gates W (gate, unit, unit).

    |W|, and the signed roots of W o M for M that change sign as W does: W^T, W W^T, W^T W, W W and its transpose. Each
    has the norm of W over sqrt 6, so that together they weigh as much as W.
    """
    found = []
    for w in gates:
        products = [w * m for m in (w.T, w @ w.T, w.T @ w, w @ w, (w @ w).T)]
        matrices = [np.abs(w), *(np.sign(p) * np.sqrt(np.abs(p)) for p in products)]
        weight = np.linalg.norm(w) / np.sqrt(len(matrices))
        found += [m * (weight / max(np.linalg.norm(m), np.finfo(float).tiny)) for m in matrices]
    return np.array(found).reshape(-1, *gates.shape[1:])


def _best_signs(problem: Assignment, matching: Matching) -> Array:
    """Good signs for a matching: those of the leading eigenvector, exact where the matching is planted."""
    own, other = _matched(problem, matching, np.ones(len(matching)))
    quadratic = (problem.x_own * own).sum(axis=0)
    linear = (problem.x_other * other).sum(axis=(0, 1))
    linear = linear + problem.linear[0, np.arange(len(matching)), matching]
    vector = np.linalg.eigh(quadratic + quadratic.T)[1][:, -1]
    signs = np.where(vector < 0, -1.0, 1.0)
    return -signs if linear @ signs < 0 else signs


# Frank-Wolfe


def _ascend(problem: Assignment, point: _Point, steps: int) -> None:
    """Frank-Wolfe steps with exact line search, until one has no more to gain than GAP."""
    units = np.arange(problem.linear.shape[-1])
    for _ in range(0 if point.stopped else steps):
        matching, signs = _nearest(problem, point.gradient)
        linear = _at(problem.linear, matching, signs)
        cross = _at(point.gradient, matching, signs) - linear
        slope = cross - point.quadratic + linear - point.linear
        if slope <= GAP * problem.scale:
            point.stopped = True
            return
        gradient = _vertex_gradient(problem, matching, signs)
        corner = _at(gradient, matching, signs)
        # Along the line the objective is value + slope a + curvature a^2.
        curvature = (point.quadratic + corner) / 2 - cross
        a = min(1.0, -slope / (2 * curvature)) if curvature < 0 else 1.0
        point.quadratic = (1 - a) ** 2 * point.quadratic + 2 * a * (1 - a) * cross + a**2 * corner
        point.linear += a * (linear - point.linear)
        point.z *= 1 - a
        point.z[0, units, matching] += a * signs
        point.z[1:, units, matching] += a
        gradient += problem.linear
        gradient *= a
        point.gradient *= 1 - a
        point.gradient += gradient


def _vertex_gradient(problem: Assignment, matching: Matching, signs: Array) -> Array:
    """The quadratic part's gradient at a matching, where Q Y is a reordering of Y; (kind, unit, unit)."""
    out = np.zeros_like(problem.linear)
    s = signs[:, None]
    for x, y in zip(problem.x_own, problem.y_own, strict=True):
        out[0] += x @ (y.T[matching] * s) + x.T @ (y[matching] * s)
    for x, y in zip(problem.x_other, problem.y_other, strict=True):
        out[0] += x.T @ y[matching]
        out[1] += x @ (y.T[matching] * s)
    return out


def _nearest(problem: Assignment, profits: Array) -> tuple[Matching, Array]:
    """The matching and signs of most profit, the linear assignment over (kind, unit, unit)."""
    if not problem.signed:
        matching = _assign(profits[0])
        return matching, np.ones(len(matching))
    total = np.abs(profits[0])
    total += profits[1:].sum(axis=0)
    matching = _assign(total)
    units = np.arange(len(matching))
    return matching, np.where(profits[0, units, matching] < 0, -1.0, 1.0)


def _assign(profits: Array) -> Matching:
    """The matching of most profit."""
    # Costs with a zero in every row and column have the same solution, found a fifth sooner at 128 units.
    costs = profits.max(axis=1, keepdims=True) - profits
    costs -= costs.min(axis=0)
    return linear_sum_assignment(costs)[1]


# Local search


def polish(
    problem: Assignment, matching: Matching, signs: Array, max_iter: int = 200
) -> tuple[Matching, Array, bool]:
    """Swap pairs of units (with any signs) and flip single signs while that gains; and whether nothing more does."""
    for _ in range(max_iter):
        gains, sign_a, sign_b = _gains(problem, matching, signs)
        a, b = np.triu_indices(len(matching), 0 if problem.signed else 1)
        better = np.flatnonzero(gains[a, b] > GAIN * problem.scale)
        if not len(better):
            return matching, signs, True
        order = better[np.argsort(-gains[a, b][better], kind="stable")]
        moves = [(a[k], b[k], sign_a[a[k], b[k]], sign_b[a[k], b[k]]) for k in order]
        # All disjoint moves at once are tried first; together they may lose what each would gain.
        single, together = _moved(matching, signs, moves[:1]), _moved(matching, signs, moves)
        gain = profit(problem, *together) - profit(problem, *single)
        matching, signs = together if gain > 0 else single
    return matching, signs, False


def _moved(
    matching: Matching, signs: Array, moves: list[tuple[int, int, float, float]]
) -> tuple[Matching, Array]:
    """The matching after the moves, in order, that touch no unit of an earlier one."""
    new, flipped, used = matching.copy(), signs.copy(), np.zeros(len(matching), dtype=bool)
    for a, b, sign_a, sign_b in moves:
        if used[a] or used[b]:
            continue
        used[a] = used[b] = True
        new[a], new[b] = matching[b], matching[a]
        flipped[a], flipped[b] = sign_a * signs[b], sign_b * signs[a]
    return new, flipped


def _gains(problem: Assignment, matching: Matching, signs: Array) -> tuple[Array, Array, Array]:
    """What each swap of units a and b gains, with the best signs of what a and b get; on the diagonal, a flip of a.

    With B = T(Y), a swap changes the profit by constant + s_a A[a, b] + s_b A[b, a] + s_a s_b C[a, b]. All of them
    together cost a few matrix products.
    """
    own, other = _matched(problem, matching, signs)
    x, b = np.concatenate([problem.x_own, problem.x_other]), np.concatenate([own, other])
    k = len(own)
    xt, bt = x.transpose(0, 2, 1), b.transpose(0, 2, 1)
    dx, db = np.diagonal(x, axis1=1, axis2=2), np.diagonal(b, axis1=1, axis2=2)  # (gate, unit)
    linear = problem.linear[:, :, matching]
    linear[0] *= signs
    # Unit a in unit b's place: what takes its sign (columns, own gates' rows), and what does not.
    signed = (xt @ b).sum(axis=0) + (x[:k] @ bt[:k]).sum(axis=0) + linear[0]
    plain = (x[k:] @ bt[k:]).sum(axis=0) + linear[1:].sum(axis=0)
    now = np.diagonal(signed + plain)
    flip = -2 * (np.diagonal(signed) - 2 * (dx[:k] * db[:k]).sum(axis=0))
    # The four entries between a and b do not follow that rule: take them out, and count them by themselves.
    straight = dx[:, :, None] * db[:, None, :]  # x_aa b_bb
    crossed = xt * b  # x_ba b_ab
    signed -= (dx[:, :, None] * b + xt * db[:, None, :]).sum(axis=0)
    rows = dx[:, :, None] * bt + x * db[:, None, :]
    signed -= rows[:k].sum(axis=0)
    plain -= rows[k:].sum(axis=0)
    stay = (dx * db).sum(axis=0)
    entries = stay[:, None] + stay + (x * b + xt * bt).sum(axis=0)
    constant = plain + straight[:k].sum(axis=0)
    constant = constant + constant.T - (now[:, None] + now - entries)
    alone = signed + (straight + crossed)[k:].sum(axis=0)
    both = crossed[:k].sum(axis=0)
    gains, sign_a, sign_b = _best_of_signs(problem, alone, both + both.T)
    gains += constant
    np.fill_diagonal(gains, flip)
    np.fill_diagonal(sign_a, -1.0)
    np.fill_diagonal(sign_b, -1.0)
    return gains, sign_a, sign_b


def _best_of_signs(problem: Assignment, alone: Array, both: Array) -> tuple[Array, Array, Array]:
    """The largest s_a A[a, b] + s_b A[b, a] + s_a s_b C[a, b] over the signs, and those signs."""
    if not problem.signed:
        return alone + alone.T + both, np.ones_like(both), np.ones_like(both)
    same, opposite = alone + alone.T, alone - alone.T
    alike = np.abs(same) + both >= np.abs(opposite) - both
    sign_a = np.where(np.where(alike, same, opposite) < 0, -1.0, 1.0)
    gains = np.where(alike, np.abs(same) + both, np.abs(opposite) - both)
    return gains, sign_a, np.where(alike, sign_a, -sign_a)
