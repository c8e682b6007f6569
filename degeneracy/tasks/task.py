"""What a task is: it draws trials, says how well an ideal solver does, and how to leave its distribution.

A task knows no network. Its own task is one subclass of `Task` in the user's own file.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pydantic
from torch import Tensor

from degeneracy.core.errors import UserError
from degeneracy.core.specs import Spec
from degeneracy.core.streams import Streams
from degeneracy.tasks.losses import MSE, Judged, Loss
from degeneracy.tasks.trials import Trials


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Trials out of the training distribution: what was changed by how much, and which target rule holds."""

    description: str
    sample: Callable[[Streams, int], Trials]


@dataclass(frozen=True, kw_only=True)
class ClosedLoop:
    """Trials on which a predictor runs free: true inputs for `warm_up` steps, its own outputs as inputs from then on.

    `judge(predicted, true)` gives how long each prediction stays near the truth, (member, trial) in the task's
    `step_unit`, from the free-running part of the outputs and of the targets, (member, trial, time, out) each.
    """

    sample: Callable[[Streams, int], Trials]
    warm_up: int
    judge: Callable[[Tensor, Tensor], Tensor]


class Task(Spec):
    """Base of all tasks. Fields are the task's parameters; the class variables describe it.

    `difficulty_fields` names the fields that make it harder, `training_defaults` holds the training defaults (fields of
    `Training`) that a study takes where it sets none itself. `loss` is what outputs cost; where they are decisions, a
    task may `stop` training by the share of wrong ones, and `judged` says what is right or wrong as a whole: each
    scored step, or a trial, which is right where all its scored steps are.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    citation: ClassVar[str]
    difficulty_fields: ClassVar[tuple[str, ...]]
    training_defaults: ClassVar[Mapping[str, Any]]
    step_unit: ClassVar[str] = "steps"
    loss: ClassVar[Loss] = MSE
    stop: ClassVar[Literal["loss", "wrong"]] = "loss"
    judged: ClassVar[Judged] = "steps"

    @classmethod
    def __pydantic_init_subclass__(cls, **fields: Any) -> None:
        """Refuse a stop rule by decisions of outputs that are none."""
        super().__pydantic_init_subclass__(**fields)
        if cls.stop == "wrong" and cls.loss.decide is None:
            raise UserError(
                f"{cls.__name__}: stop = 'wrong' needs decisions, and outputs of the loss '{cls.loss.name}' are none"
            )

    n_steps: int = pydantic.Field(ge=2, description="time steps per trial")
    threshold: float = pydantic.Field(gt=0, description="training stops under this loss")

    @property
    @abstractmethod
    def input_size(self) -> int:
        """Number of input channels."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """Number of output channels."""

    @property
    def step_size(self) -> float:
        """Length of one time step in `step_unit`."""
        return 1.0

    @property
    def input_names(self) -> tuple[str, ...]:
        """Label of each input channel."""
        return tuple(f"input {k + 1}" for k in range(self.input_size))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Label of each output channel."""
        return tuple(f"output {k + 1}" for k in range(self.output_size))

    @abstractmethod
    def sample(self, streams: Streams, n_trials: int) -> Trials:
        """Fresh trials of every member of `streams`, made on the streams' device."""

    def solve(self, inputs: Tensor) -> Tensor | None:  # noqa: ARG002
        """The ideal solver: outputs (member, trial, time, out) from inputs alone, causal in time.

        None where none is known, as of most tasks made elsewhere: then nothing is checked of it.
        """
        return None

    @abstractmethod
    def chance_loss(self) -> float:
        """The training loss of the best constant output (one number per output channel)."""

    def ideal_loss(self) -> float:
        """The training loss of the ideal solver; 0 unless the task itself leaves something unknowable."""
        return 0.0

    def ideal_error(self) -> float:
        """The ideal solver's mean loss on the scored steps of a trial."""
        return self.ideal_loss()

    def ideal_wrong(self) -> float:
        """The ideal solver's share of wrong decisions, by what `judged` says; 0 unless noise hides what is right."""
        return 0.0

    def goal(self) -> float:
        """What the epoch's mean must be under for training to stop: of the loss, or of wrong decisions."""
        return self.threshold

    def probe(self, streams: Streams, n_trials: int) -> Trials:
        """The trials on which states are recorded: all of one length, every step being part of the trial.

        A task whose trials end at different steps has to draw others here.
        """
        return self.sample(streams, n_trials)

    def rest_input(self) -> Sequence[float] | None:
        """The input, a number per channel, under which a network is left to itself; 0 unless said otherwise.

        None for a task without such an input, as of tokens: then there are no autonomous states.
        """
        return (0.0,) * self.input_size

    def held_inputs(self) -> Mapping[str, Sequence[float]]:
        """The constant inputs, a number per channel, under which fixed points and cycles are searched, by name.

        Those that mean something in the task: one per token, or context. "none" is the rest input.
        """
        rest = self.rest_input()
        return {} if rest is None else {"none": rest}

    def pulses(self) -> Sequence[Sequence[float]]:
        """The brief inputs, a number per channel, which may lead a network from one attractor to another.

        Each stands for `pulse_steps` steps in place of a constant input of `held_inputs`. Unless said otherwise, these
        are the other constant inputs: with one per token, each token leads from where another one is repeated.
        """
        return list(self.held_inputs().values())

    @property
    def pulse_steps(self) -> int:
        """How many steps a pulse lasts."""
        return 1

    @abstractmethod
    def variants(self) -> Mapping[str, Variant]:
        """The out-of-distribution variants, by name."""

    def closed_loop(self) -> ClosedLoop | None:
        """How to run free on one's own outputs; None for a task whose outputs are not its next inputs."""
        return None

    def longer_trials(
        self, *times: int, unit: str = "steps", said: str = "; the same rule throughout"
    ) -> dict[str, Variant]:
        """Trials so many times as long, "length_2x" and so on; `said` is what else there is to say of them."""
        longer = {n: self.replace(n_steps=n * self.n_steps) for n in times}
        return {
            f"length_{n}x": Variant(
                description=f"{task.n_steps} {unit} instead of {self.n_steps}{said}", sample=task.sample
            )
            for n, task in longer.items()
        }

    def noisy_inputs(self, sd: float) -> Variant:
        """Gaussian noise on every input at every step; targets are those of the clean inputs."""

        def sample(streams: Streams, n_trials: int) -> Trials:
            trials = self.sample(streams, n_trials)
            noise = sd * streams.normal(trials.inputs.shape[1:])
            return trials.replace(inputs=trials.inputs + noise)

        return Variant(
            description=f"Gaussian noise of sd {sd:g} on every input at every step; targets of the clean inputs",
            sample=sample,
        )

    def scaled_inputs(self, factor: float) -> Variant:
        """All inputs times a factor; targets are those of the unscaled inputs."""

        def sample(streams: Streams, n_trials: int) -> Trials:
            trials = self.sample(streams, n_trials)
            return trials.replace(inputs=factor * trials.inputs)

        return Variant(
            description=f"inputs times {factor:g}; targets of the unscaled inputs",
            sample=sample,
        )
