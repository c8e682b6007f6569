"""The search for states at rest: descent, polishing, Jacobians and restarts, for all starts of all members at once.

Serves `fixed_points`. Each point moves on its own: what happens to it does not depend on its companions.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from degeneracy.analysis.recording import Array, StepFunction

# Learning rate of the descent, in units of the visited states' root mean square. From a quarter of it to twice
# it, the same points were found in 12 flip-flop networks.
ADAM_RATE = 0.04
MAX_MIDPOINTS = 2048  # of the closest pairs; 27 points have 351
MAX_ITERATIONS = 40  # of Levenberg-Marquardt; 8 to 11 are usual
# Numbers in one batch of Jacobians (128 MB in float64), whatever the network and the number of starts.
JACOBIAN_BUDGET = 2**24


def scale(states: Tensor) -> Tensor:
    """Root mean square of each member's finite states, (member, 1, 1): the unit of length of its search."""
    mean_square = torch.nan_to_num(states, 0.0, 0.0, 0.0).square().mean((1, 2), keepdim=True)
    return mean_square.sqrt().clamp(min=1e-3)  # starts all at 0 have no scale of their own


def move(step: StepFunction, h: Tensor, x: Tensor) -> Tensor:
    """step(h, x) - h, the movement in one step, (member, point, state)."""
    with torch.no_grad():
        return step.step(h, _held(x, h)) - h


def _held(x: Tensor, h: Tensor) -> Tensor:
    """The constant input (in,) at every member and point of h."""
    return x.to(h).expand(*h.shape[:2], -1)


@torch.enable_grad()
def descend(step: StepFunction, starts: Tensor, x: Tensor, n_updates: int) -> Tensor:
    """Adam on q(h) = ||step(h, x) - h||^2 / 2 with a learning rate falling to 0, every start on its own."""
    h = starts.clone().requires_grad_()
    held, rate = _held(x, h), ADAM_RATE * scale(starts)
    first, second = torch.zeros_like(starts), torch.zeros_like(starts)
    for k in range(1, n_updates + 1):
        speed_squared = (step.step(h, held) - h).square().sum()
        (gradient,) = torch.autograd.grad(0.5 * speed_squared, h)
        first.lerp_(gradient, 0.1)
        second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        size = (second / (1 - 0.999**k)).sqrt_().add_(1e-12)
        fall = (1 - k / (n_updates + 1)) / (1 - 0.9**k)
        with torch.no_grad():
            h.sub_((first / size).mul_(rate * fall))
    return h.detach()


def polish(step: StepFunction, states: Sequence[Array], x: Tensor) -> list[tuple[Array, Array]]:
    """Where the states of each member, (point, state), come to rest, and their speeds there, the slowest first."""
    n_units = states[0].shape[1]
    padded = np.zeros((len(states), max(map(len, states)), n_units))
    for row, some in zip(padded, states, strict=True):
        row[: len(some)] = some
    starts = torch.from_numpy(padded).to(step.visited.device)
    block = max(1, JACOBIAN_BUDGET // (len(states) * n_units**2))
    solved = [_levenberg_marquardt(step, h, x) for h in torch.split(starts, block, dim=1)]
    ends, speeds = (host(torch.cat(parts, dim=1)) for parts in zip(*solved, strict=True))
    polished = []
    for h, speed, some in zip(ends, speeds, states, strict=True):
        order = np.argsort(speed[: len(some)], kind="stable")
        polished.append((h[order], speed[order]))
    return polished


def _levenberg_marquardt(step: StepFunction, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Solves F(h) = step(h, x) - h = 0 by steps -(J'J + mu I)^-1 J'F, mu = damping ||F||^2, each point on its own.

    A step that does not slow the point down is not taken; a point is left alone once its speed is at round-off
    or its damping has grown past use.
    """
    h = h.clone()
    speed = move(step, h, x).norm(dim=-1)
    damping = torch.full_like(speed, 1e-2)
    for _ in range(MAX_ITERATIONS):
        round_off = 64 * torch.finfo(h.dtype).eps * h.norm(dim=-1).clamp(min=1.0)
        active = (speed > round_off) & (damping < 1e6)
        width = int(active.sum(1).max())
        if width == 0:
            break
        some = torch.argsort(active, dim=1, descending=True, stable=True)[:, :width]  # (member, width)
        at = some[..., None].expand(-1, -1, h.shape[-1])
        h_now, speed_now, damping_now = h.gather(1, at), speed.gather(1, some), damping.gather(1, some)
        h_next = h_now - _damped_step(step, h_now, x, damping_now * speed_now**2)
        speed_next = move(step, h_next, x).norm(dim=-1)
        better = speed_next < speed_now  # False for a non-finite speed
        h.scatter_(1, at, torch.where(better[..., None], h_next, h_now))
        speed.scatter_(1, some, torch.where(better, speed_next, speed_now))
        damping.scatter_(1, some, torch.where(better, damping_now / 4, damping_now * 8).clamp(min=1e-4))
    return h, speed


def _damped_step(step: StepFunction, h: Tensor, x: Tensor, damping: Tensor) -> Tensor:
    """(J'J + mu I)^-1 J'F at h, shape of h, with F the movement and J its Jacobian."""
    jacobian = jacobians(step, h, x)
    jacobian.diagonal(dim1=-2, dim2=-1).sub_(1.0)
    gradient = jacobian.mT @ move(step, h, x)[..., None]
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
        except RuntimeError:  # an operation of the user's cell that torch cannot batch: one pass a row
            passes = [torch.autograd.grad(after, h, u.expand_as(h), retain_graph=True)[0] for u in units]
            rows = torch.stack(passes)
    return rows.permute(1, 2, 0, 3).contiguous()


def distinct(points: Array, tolerance: float) -> Array:
    """The points, in order, that are farther than the tolerance (root mean square per unit) from all before."""
    # |a - b|^2 from products: its rounding, 1e-16 |a|^2, is far below any tolerance in use.
    squares = (points**2).sum(axis=1)
    limit = tolerance**2 * points.shape[1]
    kept, far = [], np.ones(len(points), dtype=bool)
    while far.any():
        first = int(far.argmax())
        kept.append(first)
        far &= squares + squares[first] - 2 * (points @ points[first]) > limit
        far[first] = False
    return points[kept]


def midpoints(points: Array, n_old: int, tolerance: float) -> Array:
    """Distinct midpoints of pairs with a point after the first `n_old`, themselves near no point."""
    pairs = np.array([pair for pair in combinations(range(len(points)), 2) if pair[1] >= n_old], dtype=int)
    pairs = pairs.reshape(-1, 2)
    length = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    pairs = pairs[np.argsort(length, kind="stable")[:MAX_MIDPOINTS]]
    middle = (points[pairs[:, 0]] + points[pairs[:, 1]]) / 2
    return distinct(np.concatenate([points, middle]), tolerance)[len(distinct(points, tolerance)) :]


def host(states: Tensor) -> Array:
    """The same numbers as a float64 array."""
    return states.detach().cpu().double().numpy()
