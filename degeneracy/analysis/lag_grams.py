"""Sums of products of states and inputs at steps a few lags apart: all that linear measures of dynamics need.

They are added up trial by trial, so that their memory does not grow with the number of trials, and one pass serves
every rank and every smaller number of lags.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from degeneracy.core.errors import UserError

Array = NDArray[np.float64]

# Of members whose states vary by less than this share of their mean's size, float64 keeps no digits of what varies.
LEAST_SPREAD = 1e-12


class LagGrams:
    """The sums of one member over some trials: of z_t = [h_t - m, u_t - m_u, 1], h the states and u the inputs.

    States are in units of `unit`. `centre` holds m and m_u, the same for all sums that are compared; any centre near
    the mean keeps the digits.

    Of all trials and steps t >= l, C_l = sum z_t z_{t-l}^T for l = 0 to `n_lags`, and the products of the first and of
    the last `n_lags` steps of each trial with one another, once per pair, from which `gram` leaves out the steps at
    either end. Of steps t >= `n_input_lags`, the products of z_t with u_t, ..., u_{t-n_input_lags}, which cost less.
    """

    def __init__(self, *, centre: Array, n_units: int, n_lags: int, n_input_lags: int = 0, unit: float = 1.0) -> None:
        self.centre, self.unit = np.asarray(centre, dtype=np.float64), unit
        self.n_units, self.n_lags, self.n_input_lags = n_units, n_lags, n_input_lags
        self.n_trials = 0
        size = len(self.centre) + 1
        self._lags = np.zeros((n_lags + 1, size, size))
        # By pair of steps, the later one to the left: counted from the first step, and back from the last one.
        self._first, self._last = np.zeros((2, n_lags * (n_lags + 1) // 2, size, size))
        past = (n_input_lags + 1) * self.n_inputs + 1
        self._answers, self._given = np.zeros((n_units, past)), np.zeros((past, past))

    @property
    def n_inputs(self) -> int:
        """The number of input channels."""
        return len(self.centre) - self.n_units

    def add(self, states: NDArray[Any], inputs: NDArray[Any]) -> None:
        """Add trials.

        Args:
            states: (trial, time, unit).
            inputs: (trial, time, in), those that made the states: u_t acts on h_t.

        Raises:
            UserError: trials with no more steps than lags, or other sizes than those of the centre.
        """
        n_trials, n_steps, n_units = states.shape
        if n_steps <= max(self.n_lags, self.n_input_lags):
            needed = max(self.n_lags, self.n_input_lags)
            raise UserError(f"states: more than {needed} steps of a trial are needed, got {n_steps}")
        if n_units != self.n_units or inputs.shape != (n_trials, n_steps, self.n_inputs):
            raise UserError(
                f"states and inputs: (trial, time, {self.n_units}) and (trial, time, {self.n_inputs}) are needed, got"
                f" {states.shape} and {inputs.shape}"
            )
        z = np.ones((n_steps, n_trials, len(self.centre) + 1))  # time first: a range of steps is one block of memory
        z[..., :n_units] = states.swapaxes(0, 1) / self.unit
        z[..., n_units:-1] = inputs.swapaxes(0, 1)
        z[..., :-1] -= self.centre
        with np.errstate(invalid="ignore", over="ignore"):  # states that are not finite are seen by `finite`
            for lag in range(self.n_lags + 1):
                self._lags[lag] += z[lag:].reshape(-1, z.shape[-1]).T @ z[: n_steps - lag].reshape(-1, z.shape[-1])
            # Of one step more than is kept, on which rounding hangs; pairs as `_pair` counts them.
            high, low = np.tril_indices(self.n_lags)
            self._first += _products(z[: self.n_lags + 1])[high, :, low]
            self._last += _products(z[n_steps - self.n_lags - 1 :][::-1])[low, :, high]
            past = self._past(z)
            self._answers += (z[self.n_input_lags :].reshape(-1, z.shape[-1]).T @ past)[:n_units]
            self._given += past.T @ past
        self.n_trials += n_trials

    def _past(self, z: Array) -> Array:
        """The inputs of steps t, ..., t-n_input_lags and the constant 1, for all t that have so many before them."""
        n_steps, lags = len(z), self.n_input_lags
        blocks = [z[lags - lag : n_steps - lag, :, self.n_units : -1] for lag in range(lags + 1)]
        past = np.concatenate([*blocks, z[lags:, :, -1:]], axis=2)
        return past.reshape(-1, past.shape[-1])

    def answers(self, n_input_lags: int) -> tuple[Array, Array]:
        """The covariance of h_t with the inputs of steps t, ..., t-n_input_lags, and that of these inputs.

        Returns:
            (unit, number) and (number, number), a number being an input of one of the steps, the latest step first.

        Raises:
            UserError: more lags than were summed.
        """
        if not 0 <= n_input_lags <= self.n_input_lags:
            raise UserError(f"lags of inputs: 0 to {self.n_input_lags} were summed, {n_input_lags} are asked for")
        there = slice((n_input_lags + 1) * self.n_inputs)
        n = self._given[-1, -1]
        mean, given_mean = self._answers[:, -1] / n, self._given[:-1, -1] / n
        covariance = self._answers[:, :-1] / n - np.outer(mean, given_mean)
        of_inputs = self._given[:-1, :-1] / n - np.outer(given_mean, given_mean)
        return covariance[:, there], of_inputs[there, there]

    def gram(self, n_lags: int) -> Array:
        """Sum over trials and steps t >= n_lags of the products of z_t, z_{t-1}, ..., z_{t-n_lags}.

        Returns:
            (n_lags + 1, number, n_lags + 1, number): block (i, j) is sum z_{t-i} z_{t-j}^T. The last number of each is
            the constant 1.

        Raises:
            UserError: more lags than were summed.
        """
        if not 0 <= n_lags <= self.n_lags:
            raise UserError(f"lags: 0 to {self.n_lags} were summed, {n_lags} are asked for")
        size = self._lags.shape[-1]
        gram = np.empty((n_lags + 1, size, n_lags + 1, size))
        for lag in range(n_lags + 1):
            for i in range(n_lags + 1 - lag):
                j = i + lag
                # C_lag has all s = t - i from lag to the end; s < n_lags - i and the last i steps are not among them.
                block = self._lags[lag].copy()
                for early in range(lag, n_lags - i):
                    block -= self._first[_pair(early, early - lag)]
                for late in range(i):  # steps before the last
                    block -= self._last[_pair(late + lag, late)]
                gram[i, :, j], gram[j, :, i] = block, block.T
        return gram

    def embedded(self, n_delays: int) -> Array:
        """Sum over trials and all steps t >= n_delays - 1 of the products of h_t, ..., h_{t-n_delays+1}.

        Returns:
            (n_delays, unit, n_delays, unit), of centred states.
        """
        return self.gram(n_delays - 1)[:, : self.n_units, :, : self.n_units]

    def mapped(self, matrix: Array, shift: Array | float = 0.0) -> "LagGrams":
        """The sums of a member whose states are `matrix` @ h_t + `shift`, with the same inputs."""
        wide = np.eye(len(self.centre) + 1)
        wide[: self.n_units, : self.n_units] = matrix
        centre = self.centre.copy()
        centre[: self.n_units] = matrix @ centre[: self.n_units] + shift / self.unit
        lags = {"n_lags": self.n_lags, "n_input_lags": self.n_input_lags}
        other = LagGrams(centre=centre, n_units=self.n_units, unit=self.unit, **lags)
        other._answers, other._given = matrix @ self._answers, self._given
        other.n_trials = self.n_trials
        other._lags, other._first, other._last = (
            wide @ blocks @ wide.T for blocks in (self._lags, self._first, self._last)
        )
        return other

    @property
    def total(self) -> Array:
        """Sum over all trials and steps of z_t z_t^T."""
        return self._lags[0]

    @property
    def varies(self) -> bool:
        """Whether the states vary by more than the rounding of their mean; True where some are not finite."""
        total = self.total[: self.n_units, : self.n_units]
        mean = self.total[: self.n_units, -1] / self.total[-1, -1]
        spread = np.sqrt(max(np.trace(total) / self.total[-1, -1] - mean @ mean, 0.0))
        return not spread <= LEAST_SPREAD * np.linalg.norm(self.centre[: self.n_units] + mean)

    @property
    def inputs_vary(self) -> bool:
        """Whether any input varies by more than rounding."""
        total, n = np.diag(self.total)[self.n_units : -1], self.total[-1, -1]
        sums = self.total[self.n_units : -1, -1]
        return bool((total / n - (sums / n) ** 2 > LEAST_SPREAD).any())

    @property
    def finite(self) -> bool:
        """Whether all that was added is finite."""
        return bool(np.isfinite(self._lags).all())


def _pair(high: int, low: int) -> int:
    """The place of a pair of steps among all with low <= high."""
    return high * (high + 1) // 2 + low


def _products(steps: Array) -> Array:
    """Sum over trials of the products of all of a few steps, (step, trial, number) -> (step, number, step, number)."""
    n_steps, n_trials, size = steps.shape
    flat = np.ascontiguousarray(steps.transpose(1, 0, 2)).reshape(n_trials, -1)
    return (flat.T @ flat).reshape(n_steps, size, n_steps, size)


def pilot(states: NDArray[Any], inputs: NDArray[Any]) -> dict[str, Any]:
    """Unit and centre of sums from some trials of a member, as `LagGrams` takes them.

    The unit is the power of two at the largest state, so that states of any size have products that are numbers.
    """
    largest = float(np.abs(states).max(initial=0.0))
    unit = float(np.ldexp(1.0, np.frexp(largest)[1] - 1)) if 0 < largest < np.inf else 1.0
    means = [x.mean(axis=(0, 1), dtype=np.float64) for x in (states / unit, inputs)]
    return {"centre": np.concatenate(means), "unit": unit}
