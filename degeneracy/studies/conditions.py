"""Conditions: one task, network and training, named by the hash of all that makes its members what they are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from degeneracy.analysis import Measure
from degeneracy.core.errors import UserError
from degeneracy.core.files import digest as full_digest
from degeneracy.core.registry import describe
from degeneracy.measuring.memory import check_measuring_memory
from degeneracy.measuring.probe import Probe, check_measures
from degeneracy.networks import Network
from degeneracy.studies.keys import digest
from degeneracy.tasks import TASKS, Task
from degeneracy.training import Training, check_training, check_training_memory
from degeneracy.wording.factors import level_text


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a condition lies in a run directory, and what has to lie there; known without the code of its task."""

    name: str  # of its folder
    label: str
    spec: str  # the SHA-256 of its resolved spec


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One ensemble of a study, without its seeds; coupled members are what they are in their company only."""

    factors: Mapping[str, Any]  # the varied factors' levels here
    task: Task
    network: Network
    training: Training  # resolved
    companions: tuple[int, ...] = ()  # the seeds of all members, where members are coupled

    def __post_init__(self) -> None:
        check_training(self.network, self.training)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The resolved task, network and training as plain data."""
        spec = {
            "task": describe(self.task, TASKS),
            "network": self.network.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
        }
        return spec | ({"companions": list(self.companions)} if self.companions else {})

    @property
    def label(self) -> str:
        """What to call it where people read: the factors' levels, or the task."""
        if not self.factors:
            return str(self.spec["task"]["name"])
        return ", ".join(f"{key.rpartition('.')[2]}={level_text(level)}" for key, level in self.factors.items())

    @property
    def name(self) -> str:
        """The name of its folder: the label in plain letters, and the hash of the resolved spec."""
        plain = re.sub(r"[^A-Za-z0-9.=-]+", "_", self.label)[:60]
        return f"{plain}-{digest(self.spec)}"

    @cached_property
    def place(self) -> Place:
        """Where it lies in a run directory."""
        return Place(name=self.name, label=self.label, spec=full_digest(self.spec, sort=True))

    def check_memory(self, measures: Mapping[str, Measure], probe: Probe, n_members: int, *, device: str) -> None:
        """Refuse sizes of networks, trials or measures that the memory cannot hold.

        Raises:
            UserError: says how much memory they would take, and which field is to blame.
        """
        try:
            check_training_memory(self.task, self.network, self.training, n_members, device=device)
            check_measuring_memory(self.task, self.network.hidden_size, probe, measures, n_members)
        except UserError as error:
            raise UserError(f"{self.label}: {error}") from None

    def check_measures(self, measures: Mapping[str, Measure], probe: Probe) -> None:
        """Refuse options of measures that this condition's recordings cannot serve.

        Raises:
            UserError: such an option.
        """
        check_measures(measures, self.task, self.network.hidden_size, probe)
