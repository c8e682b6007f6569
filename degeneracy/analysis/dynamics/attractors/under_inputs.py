"""What is measured of the step under each of the constant inputs that a task names: the base of such measures."""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import pydantic
from numpy.typing import NDArray

from degeneracy.analysis.measure import HELD, PERMUTATION, ROTATION, SIGNS, Level, Measured, MeasureInParts, in_words
from degeneracy.analysis.recording import MEAN_INPUT, NO_INPUT, StepFunction
from degeneracy.core.errors import UserError, unknown_name

FEW_STARTS, MANY_STARTS = 256, 1024
MANY_PULSES = 8  # of a flip-flop with 4 channels, which has 16 stable points: of 256 starts one was missed at times


class UnderInputs(MeasureInParts):
    """Base of the measures that search state space under constant inputs; their variants end in the input's name."""

    level: ClassVar[Level] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("step",)
    pairwise: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (ROTATION, PERMUTATION, SIGNS)
    floor: ClassVar[str] = "a second search of the same network"

    input: str = pydantic.Field(
        "",
        description="the constant input searched under, by the name that the task gives it, or 'mean' of the probe "
        "trials; empty for each one that the task names, which is 'none' of most tasks",
    )
    n_starts: int = pydantic.Field(
        0,
        ge=0,
        description=f"starts per member, from visited states; 0 for {FEW_STARTS}, or {MANY_STARTS} where the task has "
        f"{MANY_PULSES} pulses or more",
    )

    def starts(self, step: StepFunction) -> int:
        """How many starts per member: as many as were asked for, else more where many attractors are expected."""
        return self.n_starts or (MANY_STARTS if len(step.pulses) >= MANY_PULSES else FEW_STARTS)

    @classmethod
    def variant_title(cls, variant: str) -> str:
        """The title of what is counted, and the constant input that it is counted under."""
        base, _, held_input = variant.partition(HELD)
        return ", ".join(filter(None, (super().variant_title(base), in_words(held_input))))

    @classmethod
    def is_average(cls, variant: str) -> bool:
        """Whether it is a mean over members, such as of a number of points."""
        return super().is_average(variant.partition(HELD)[0])

    @classmethod
    def known_variants(cls, of_task: Iterable[str], held_inputs: Iterable[str]) -> tuple[str, ...]:  # noqa: ARG003
        """What is counted, under each of the constant inputs."""
        return tuple(of_input(name, held_input) for held_input in held_inputs for name in cls.variant_titles)

    def methods_sentence(self) -> str:
        """The card's sentence with the measure's options."""
        inputs = f"the constant input '{self.input}'" if self.input else "each constant input that the task names"
        starts = str(self.n_starts or f"{FEW_STARTS}, with {MANY_PULSES} pulses or more {MANY_STARTS:,},")
        return self.methods.format(inputs=inputs, starts=starts, **self.model_dump(mode="json"))

    def check(self, *, n_units: int, n_steps: int, n_trials: int, held_inputs: Collection[str]) -> None:  # noqa: ARG002
        """Refuse an input that the task does not name."""
        self.searched_inputs(held_inputs)

    def searched_inputs(self, there: Iterable[str]) -> list[str]:
        """The names of the inputs to search under, of those that there are."""
        names = list(there)
        if not self.input:
            return [name for name in names if name != MEAN_INPUT]
        if self.input == MEAN_INPUT and MEAN_INPUT not in names:
            raise UserError(
                f"{self.name}: input = '{MEAN_INPUT}' needs recorded inputs, of a task with times of no input"
                f" (known here: {', '.join(names)})"
            )
        if self.input not in names:
            raise unknown_name("input", self.input, names, where=self.name)
        return [self.input]

    @abstractmethod
    def under(self, held_input: str, done: Sequence[Any]) -> Measured:
        """What the parts that were done under one constant input come to."""

    def whole(self, done: Sequence[Any]) -> Measured:
        """What was found under each input, one after the other; a part is a tuple that begins with the input's name."""
        names = dict.fromkeys(part[0] for part in done)
        each = [self.under(name, [part for part in done if part[0] == name]) for name in names]
        return Measured(
            findings=tuple(finding for one in each for finding in one.findings),
            distances={name: matrix for one in each for name, matrix in one.distances.items()},
            arrays={name: array for one in each for name, array in one.arrays.items()},
            diagnostics={name: number for one in each for name, number in one.diagnostics.items()},
        )


def of_input(name: str, held_input: str) -> str:
    """The name of a variant, or an array, under a constant input."""
    return name if held_input == NO_INPUT else f"{name}{HELD}{held_input}"


def arrays_under(arrays: Mapping[str, NDArray[Any]], held_input: str) -> dict[str, NDArray[Any]]:
    """The arrays of one constant input, by their plain names."""
    parted = {name: name.partition(HELD) for name in arrays}
    return {base: arrays[name] for name, (base, _, under) in parted.items() if (under or NO_INPUT) == held_input}


def inputs_of(arrays: Iterable[str], name: str = "position") -> list[str]:
    """The constant inputs under which there is an array of that plain name."""
    parted = (each.partition(HELD) for each in arrays)
    return [held_input or NO_INPUT for base, _, held_input in parted if base == name]
