"""How members are trained: rate, batch, stop rule, regularisers, coupling and what members share."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import pydantic

from degeneracy.core.errors import UserError
from degeneracy.core.registry import describe, named
from degeneracy.core.specs import Spec
from degeneracy.networks import Network
from degeneracy.tasks import Task
from degeneracy.training.coupling import Coupling
from degeneracy.training.optimisers import OPTIMISERS, Adam, Optimiser
from degeneracy.training.regularisers import on_weights, regulariser
from degeneracy.training.schedules import SCHEDULES, Constant, Schedule

Stream = Literal["initialisation", "data", "noise"]  # a member's named random streams


class Training(Spec):
    """How members are trained: on fresh trials until the task's goal.

    What is not set is taken from the task's `training_defaults` (see `for_task`), then from the defaults here. A member
    has converged when its epoch-mean loss, or its share of wrong decisions where the task stops by those, was under the
    task's goal in 1 + `patience` epochs running. `regularisers` are nuclear, l1 and l2 of the recurrent weights,
    l2_activity and temporal_consistency of the states. `optimiser` (adam, adamw, sgd) and `schedule` (constant,
    cosine_warm_restarts, reduce_on_plateau) are names, or tables with a name and its fields. Your own of all three are
    named as `module:Name`.
    """

    learning_rate: float = pydantic.Field(1e-3, gt=0)
    batch_size: int = pydantic.Field(256, ge=1, description="trials per update")
    steps_per_epoch: int = pydantic.Field(128, ge=1, description="updates per epoch")
    max_epochs: int = pydantic.Field(300, ge=1)
    patience: int = pydantic.Field(3, ge=0, description="epochs more under the goal before a member stops")
    clip_norm: float = pydantic.Field(1.0, gt=0, description="largest norm of a member's gradient")
    optimiser: pydantic.SerializeAsAny[Optimiser] = Adam()
    schedule: pydantic.SerializeAsAny[Schedule] = Constant()
    n_fixed_trials: int = pydantic.Field(0, ge=0, description="size of a fixed set of trials; 0 draws fresh ones")
    regularisers: Mapping[str, float] = pydantic.Field(
        default_factory=dict, description="strengths by name in REGULARISERS, or module:Name"
    )
    coupling: Coupling = Coupling()
    shared_streams: tuple[Stream, ...] = pydantic.Field(
        (), description="sources of variability that are the same for all members"
    )
    checkpoints: tuple[float, ...] = pydantic.Field(
        (), description="fractions of a member's own training at which it is kept as well, such as [0.1, 0.3]"
    )
    shared_seed: int = pydantic.Field(0, ge=0, description="the seed that members draw these from")

    @pydantic.field_validator("regularisers")
    @classmethod
    def _known_regularisers(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        for name, strength in value.items():
            regulariser(name)
            if strength < 0:
                raise ValueError(f"the strength of {name} is {strength:g}; it must be 0 or more")
        return dict(value)

    @pydantic.field_validator("shared_streams")
    @classmethod
    def _each_once(cls, value: tuple[Stream, ...]) -> tuple[Stream, ...]:
        return tuple(sorted(set(value)))

    @pydantic.field_validator("checkpoints")
    @classmethod
    def _fractions(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < fraction < 1 for fraction in value):
            raise ValueError("fractions between 0 and 1 are needed (the start and the end are kept anyway)")
        return tuple(sorted(set(value)))

    @property
    def coupled(self) -> bool:
        """Whether members see each other, so that all are trained together or none."""
        return self.coupling.strength != 0

    def stream_seeds(self, stream: Stream, seeds: Sequence[int]) -> tuple[int, ...]:
        """What each member's named stream is made from: its own seed, or the common one of a shared stream."""
        return (self.shared_seed,) * len(seeds) if stream in self.shared_streams else tuple(seeds)

    @pydantic.field_validator("optimiser", mode="before")
    @classmethod
    def _named_optimiser(cls, value: Any) -> Any:
        return named("optimiser", value, OPTIMISERS, Optimiser)

    @pydantic.field_validator("schedule", mode="before")
    @classmethod
    def _named_schedule(cls, value: Any) -> Any:
        return named("schedule", value, SCHEDULES, Schedule)

    @pydantic.field_serializer("optimiser")
    def _optimiser_with_name(self, optimiser: Optimiser) -> dict[str, Any]:
        return describe(optimiser, OPTIMISERS)

    @pydantic.field_serializer("schedule")
    def _schedule_with_name(self, schedule: Schedule) -> dict[str, Any]:
        return describe(schedule, SCHEDULES)

    def for_task(self, task: Task) -> "Training":
        """The same training with what was not set taken from the task's training defaults.

        Raises:
            UserError: epochs so few that no member can have converged by the last, or a coupling on a variant that the
                task does not have, whatever its strength: another condition of a study may switch it on.
        """
        own = {name: getattr(self, name) for name in self.model_fields_set}
        resolved = Training(**{**task.training_defaults, **own})
        if resolved.max_epochs <= resolved.patience:
            raise UserError(
                f"Training: max_epochs = {resolved.max_epochs} is wrong: with patience = {resolved.patience} a member"
                f" converges after {resolved.patience + 1} epochs or more"
            )
        resolved.coupling.sampler(task)
        return resolved


def check_training(network: Network, training: Training) -> None:
    """Refuse a training that the network cannot have.

    Raises:
        UserError: an optimiser whose rates are not known for the network's parametrisation, or regularisers of
            recurrent weights where the cell has none.
    """
    check_regularisers(network, [name for name, strength in training.regularisers.items() if strength])
    optimiser = training.optimiser
    if network.parametrisation == "mup" and not optimiser.mup:
        raise UserError(
            f"Training: optimiser '{describe(optimiser, OPTIMISERS)['name']}' has no rates for parametrisation 'mup';"
            " adam and adamw have"
        )


def check_regularisers(network: Network, names: Collection[str]) -> None:
    """Refuse regularisers of recurrent weights where the network's cell has none.

    Raises:
        UserError: such regularisers.
    """
    wrong = on_weights(names)
    if wrong and not network.build_cell().between_units:
        verb = "is" if len(wrong) == 1 else "are"
        raise UserError(
            f"regularisers: {', '.join(wrong)} {verb} of recurrent weights, and cell '{network.cell}' has none"
        )
