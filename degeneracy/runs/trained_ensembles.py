"""The trained networks of a run, read when they are asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import unknown_name
from degeneracy.core.files import advising
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.ensembles.ensemble_files import read_condition


@dataclass(frozen=True, kw_only=True)
class TrainedEnsembles(Mapping[str, Ensemble]):
    """The ensembles of a run by the names of its conditions.

    Where a task or cell is the user's own code (`module:Name`), that module is imported when it is asked for.
    """

    folders: Mapping[str, Path]  # by condition
    made: Mapping[str, Mapping[str, str]]  # by condition and seed, the fingerprints of the members measured
    advice: str  # what to do about a damaged file

    @ordinary_state()
    def __getitem__(self, condition: str) -> Ensemble:
        if condition not in self.folders:
            raise unknown_name("condition", condition, self.folders)
        with advising(self.advice):
            return Ensemble(**read_condition(self.folders[condition], self.made[condition]))

    def __contains__(self, condition: object) -> bool:
        return condition in self.folders

    def __iter__(self) -> Iterator[str]:
        return iter(self.folders)

    def __len__(self) -> int:
        return len(self.folders)

    def __repr__(self) -> str:
        return f"TrainedEnsembles({', '.join(f'{name}: {len(self.made[name])} networks' for name in self)})"
