"""Local search over matchings with signs: swaps of two units and flips of single signs, while they gain.

Finishes the search of `frank_wolfe`; problem and terms are those of `assignment`.
"""

import numpy as np

from degeneracy.analysis.matching.assignment import Assignment
from degeneracy.analysis.matching.linear_assignment import Matching
from degeneracy.analysis.recording import Array

# A move must gain this share of ||X|| ||Y||: more than rounding, or the search could go in circles.
GAIN = 1e-12


def profit(problem: Assignment, matching: Matching, signs: Array) -> float:
    """What is maximised, at one matching."""
    own, other = _matched(problem, matching, signs)
    chosen = problem.linear[:, np.arange(len(matching)), matching]
    linear = chosen[0] @ signs + chosen[1:].sum()
    # Not by BLAS, whose dot product rounds by its number of threads.
    return float(np.sum(problem.x.own * own) + np.sum(problem.x.other * other) + linear)


def _matched(problem: Assignment, matching: Matching, signs: Array) -> tuple[Array, Array]:
    """Y's own and other gates with units relabelled."""
    own = problem.y.own[:, matching][:, :, matching] * signs * signs[:, None]
    other = problem.y.other[:, matching][:, :, matching] * signs
    return own, other


def polish(problem: Assignment, matching: Matching, signs: Array, max_iter: int = 200) -> tuple[Matching, Array, bool]:
    """Swap pairs of units of a class (with any signs) and flip single signs while that gains; whether no more gain."""
    units = np.arange(len(matching))
    alike = np.zeros((len(units), len(units)), dtype=bool)
    for rows, _ in problem.classes:
        alike[np.ix_(units[rows], units[rows])] = True
    for _ in range(max_iter):
        gains, sign_a, sign_b = _gains(problem, matching, signs)
        gains[~alike] = -np.inf
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


def _moved(matching: Matching, signs: Array, moves: list[tuple[int, int, float, float]]) -> tuple[Matching, Array]:
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
    x, b = np.concatenate([problem.x.own, problem.x.other]), np.concatenate([own, other])
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
