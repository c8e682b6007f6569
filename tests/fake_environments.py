"""Environments in the form of neurogym's, without it: what a task made elsewhere looks like."""

from types import SimpleNamespace
from typing import Any

import numpy as np


class Choose:
    """Name the sign of a noisy stimulus when it is over; trials are 5 to 8 steps long, 6 half of the time."""

    def __init__(self, dt: int = 100, noise: float = 0.5, longest: int = 8) -> None:
        self.dt, self.noise, self.longest = dt, noise, longest
        self.action_space = SimpleNamespace(n=3, shape=())
        self.rng = np.random.RandomState()
        self.ob, self.gt = np.zeros((0, 2)), np.zeros(0, int)

    def seed(self, seed: int) -> list[int]:
        self.rng = np.random.RandomState(seed)
        return [seed]

    def new_trial(self, **_: Any) -> dict[str, Any]:
        n = int(self.rng.choice([5, 6, 6, 6, 7, self.longest]))
        sign = int(self.rng.randint(2))
        self.ob = np.zeros((n, 2), np.float32)
        self.ob[:, 0] = 1
        self.ob[:-1, 1] = 2 * sign - 1 + self.noise * self.rng.randn(n - 1)
        self.gt = np.zeros(n, int)
        self.gt[-1] = 1 + sign
        return {"sign": sign}


class Follow(Choose):
    """Give the stimulus back, with continuous actions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.action_space = SimpleNamespace(shape=(1,))

    def new_trial(self, **_: Any) -> dict[str, Any]:
        super().new_trial()
        self.gt = self.ob[:, 1:].copy()
        return {}


class Short(Choose):
    """What is right is said of one step less."""

    def new_trial(self, **_: Any) -> dict[str, Any]:
        super().new_trial()
        self.gt = self.gt[:-1]
        return {}


class Beyond(Choose):
    """What is right is an action that there is not."""

    def new_trial(self, **_: Any) -> dict[str, Any]:
        super().new_trial()
        self.gt[-1] = 3
        return {}


class Rewarded(Choose):
    """Says nothing of what is right."""

    def new_trial(self, **_: Any) -> dict[str, Any]:
        self.gt = None  # type: ignore[assignment]
        return {}


class Bare:
    """No environment."""


def choose(dt: int = 100) -> Choose:
    """A function that makes one."""
    return Choose(dt=dt)
