"""Linear systems h_t = A h_{t-1} + B u_t with known answers, started from their stationary state."""

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from degeneracy.analysis import Recording
from degeneracy.analysis.lag_grams import LagGrams

N_UNITS, N_INPUTS, P = 12, 3, 0.3


def system(seed, n_units=N_UNITS, n_inputs=N_INPUTS, radius=0.9):
    """A of a given spectral radius, and B."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n_units, n_units))
    return radius * a / np.abs(np.linalg.eigvals(a)).max(), rng.normal(size=(n_units, n_inputs))


def rotation(seed, n_units=N_UNITS):
    """An orthogonal matrix."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n_units, n_units)))[0]


def stationary(a, b):
    """The covariance of the states under independent inputs of variance P."""
    return solve_discrete_lyapunov(a, P * b @ b.T)


def run(a, b, n_trials, seed, *, n_steps=50, correlation=0.0, noise=0.0):
    """States and inputs of some trials; inputs of variance P follow one another with a correlation."""
    rng = np.random.default_rng(seed)
    n_units, n_inputs = b.shape
    fresh = rng.normal(size=(n_trials, n_steps, n_inputs)) * P**0.5
    inputs = fresh.copy()
    for t in range(1, n_steps):
        inputs[:, t] = correlation * inputs[:, t - 1] + (1 - correlation**2) ** 0.5 * fresh[:, t]
    state = rng.multivariate_normal(np.zeros(n_units), stationary(a, b), size=n_trials)
    states = np.empty((n_trials, n_steps, n_units))
    for t in range(n_steps):
        state = state @ a.T + inputs[:, t] @ b.T + noise * rng.normal(size=state.shape)
        states[:, t] = state
    return states, inputs


def grams(states, inputs, n_lags=1, centre=None, n_input_lags=0):
    """The sums of these trials."""
    centre = np.zeros(states.shape[-1] + inputs.shape[-1]) if centre is None else centre
    summed = LagGrams(centre=centre, n_units=states.shape[-1], n_lags=n_lags, n_input_lags=n_input_lags)
    summed.add(states, inputs)
    return summed


def recording(systems, n_trials, seed, *, n_lags=1, n_input_lags=0, **how):
    """Of one member per system, each on trials of its own in either half."""
    halves = tuple(
        [
            grams(*run(a, b, n_trials, (seed, k, half), **how), n_lags, None, n_input_lags)
            for k, (a, b) in enumerate(systems)
        ]
        for half in (0, 1)
    )
    return Recording(members=tuple(map(str, range(len(systems)))), lag_grams=halves)
