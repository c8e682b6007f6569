"""Flow mismatch by its definition: quasi-Newton over the logarithm of C, from many starts of either determinant."""

import numpy as np
import torch
from scipy.optimize import minimize


def mismatch(a_x, s_x, a_y, s_y, c):
    """D^2 at C; torch tensors, the spreads as diagonals."""
    eye, s_x, s_y = torch.eye(len(a_x), dtype=torch.float64), torch.diag(s_x), torch.diag(s_y)
    of_x = ((a_x - c @ a_y @ c.T) @ s_x).square().sum() / ((a_x - eye) @ s_x).square().sum()
    of_y = ((a_y - c.T @ a_x @ c) @ s_y).square().sum() / ((a_y - eye) @ s_y).square().sum()
    return (of_x + of_y) / 2


def least(a_x, s_x, a_y, s_y, n_starts, seed=0):
    """The least D^2 of n_starts descents of each determinant."""
    x = [torch.as_tensor(each, dtype=torch.float64) for each in (a_x, s_x, a_y, s_y)]
    rank, gen = len(a_x), np.random.default_rng(seed)
    low = np.tril_indices(rank, -1)
    found = []
    for k in range(2 * n_starts):
        first = np.linalg.qr(gen.normal(size=(rank, rank)))[0]
        first[:, 0] *= np.sign(np.linalg.det(first)) * (-1) ** k
        start = torch.as_tensor(first)

        def objective(parameters, start=start):
            packed = torch.tensor(parameters, requires_grad=True)
            skew = torch.zeros(rank, rank, dtype=torch.float64).index_put(tuple(map(torch.as_tensor, low)), packed)
            value = mismatch(*x, torch.linalg.matrix_exp(skew - skew.T) @ start)
            value.backward()
            return float(value.detach()), packed.grad.numpy()

        done = minimize(
            objective, np.zeros(len(low[0])), jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-9}
        )
        found.append(done.fun)
    return min(found)
