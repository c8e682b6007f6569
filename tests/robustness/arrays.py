"""Random inputs to `measure_arrays` and the public functions: see `array_truths` and `array_calls` for the kinds."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from . import array_calls, array_truths
from .file_damage import Rng
from .framework import Outcome, Program

KINDS: dict[Callable[[Rng], Outcome], float] = {
    array_truths.forms: 4.0,
    array_truths.surroundings: 1.0,
    array_truths.copies: 1.0,
    array_truths.scales: 2.0,
    array_truths.degenerate: 3.0,
    array_truths.behavior: 1.5,
    array_truths.weights: 2.0,
    array_truths.fixed_points: 0.5,
    array_calls.shapes: 3.0,
    array_calls.arguments: 1.0,
    array_calls.modules: 2.0,
    array_calls.own_measures: 1.0,
    array_calls.names: 0.7,
    array_calls.compared: 0.3,
}


class RandomArrays(Program):
    """See the module."""

    name: ClassVar[str] = "arrays"
    about: ClassVar[str] = "random arrays and calls"
    short: ClassVar[int] = 100
    long: ClassVar[int] = 3_000

    def prepare(self) -> None:
        """Compile what is compiled at its first use, which would count as a case's time."""
        rng = np.random.default_rng(0)
        params = array_truths.networks(rng)
        arrays = params | {"cell": "tanh", "states": array_truths.states_of(rng, params)}
        array_truths.measured(arrays, (*array_truths.OF_STATES, *array_truths.OF_WEIGHTS, "fixed_points"))
        for cell in array_truths.TRAINED:
            array_truths.trained(cell)

    def case(self, rng: Rng) -> Outcome:
        """One call, of a kind drawn."""
        odds = np.array(list(KINDS.values()))
        return list(KINDS)[int(rng.choice(len(KINDS), p=odds / odds.sum()))](rng)
