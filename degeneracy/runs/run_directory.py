"""A run directory: where a study's members, measurements and tables lie.

study.json                      the study, its seeds and its conditions, and what its pilot chose
results.json                    what the finished run found, as plain data: which records make the table, and the
                                SHA-256 of the files below
degeneracy.csv                  the table
effects.csv, convergence.csv    what the factors do, and who converged, where something is varied
robustness.csv                  the effects at other settings of the judged measures, where claims name some
provenance.json                 versions, device, numeric path, times
report.html, figures/           the report
panels.json                     the SHA-256 of what `panels.py` adds: dsa_sensitivity.csv, during_training.csv
lock                            held while one of the files above is written
conditions/NAME-HASH/
    spec.json                   the resolved task, network and training
    lock                        held by the process at work on the condition
    members-0001.pack           a record per network: parameters, initial and final, and history
    measured-0001.pack          a record per measure (findings, distances, fixed points), and a few probe trials
NAME.damaged-1                  what a run with `repair` has set aside

Packs are append-only (`core/packs.py`; `records.py` beside it says how a record looks): a further file of a pack
begins behind one with a torn end, which a killed process leaves. A record says what it is: condition, the digest of its
spec, seed or measure and key, shapes, and the digest of what it was made from (a measure: of its members' parameters).
All of it, the arrays included, stands under SHA-256 checksums, as does each JSON file, and is compared on reading with
the place that it is read from. What does not fit is a `DamagedFile`, one line that names the file. Nothing is ever
overwritten but the files at the top, and these only where they are what the run has written.
"""

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from degeneracy.core.errors import UserError
from degeneracy.core.files import (
    DamagedFile,
    clean,
    digest,
    exists,
    lock,
)
from degeneracy.core.mending import mend
from degeneracy.core.owned_folder import LACKS, OwnedFolder, put_aside, put_aside_if_damaged
from degeneracy.core.packs import Pack
from degeneracy.core.records import Record
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.ensembles.ensemble_files import NOT_THE_ONE, SPEC
from degeneracy.ensembles.member_files import load_member, member_pack, member_records, save_member
from degeneracy.reporting import report
from degeneracy.runs.measured_records import measured_pack
from degeneracy.runs.results_file import RESULTS, STUDY, members_of_results, run_folder
from degeneracy.studies.claims import Claims
from degeneracy.studies.conditions import Condition, Place
from degeneracy.studies.settings import dotted
from degeneracy.studies.study_result import StudyResult
from degeneracy.training import Member

CONDITIONS = "conditions"

log = logging.getLogger("degeneracy")


@dataclass(frozen=True, kw_only=True)
class RunDirectory:
    """The files of one run."""

    root: Path
    study: Mapping[str, Any]
    places: tuple[Place, ...]  # of its conditions
    identity: str  # of this run, drawn when it began: study.json and results.json name it
    claims_at_training: Mapping[str, Any] | None = None  # None: lost with a damaged file
    pilot: Mapping[str, Any] = field(default_factory=dict)  # what it chose (`piloting`); empty: nothing yet
    made_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # see `members_of_results`
    _packs: dict[tuple[str, str], Pack] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(
        cls, root: Path, study: Mapping[str, Any], conditions: Sequence[Condition], *, repair: bool = False
    ) -> "RunDirectory":
        """Start a run in a new or empty folder, or go on with the same study's run.

        Args:
            root: the folder.
            study: as plain data.
            conditions: of the study.
            repair: set a damaged study.json aside.

        Raises:
            DamagedFile: study.json is not what was written.
            UserError: the folder holds something else, or conditions that the study does not have, or its pilot chose
                among other settings.
        """
        places = tuple(condition.place for condition in conditions)
        with run_folder(root).take(lambda: _check_folder(root, conditions, repair)):
            if repair:
                _mend_top(root)
            claims, identity, pilot = _claims_at_training(root, study), _identity(root), _kept_pilot(root)
            _check_pilot(root, pilot, study["pilot"])
            index = {
                "run": identity,
                "study": study,
                "conditions": [vars(place) for place in places],
                "claims_at_training": claims,
                "pilot": pilot,
            }
            STUDY.write(root, index)
            made_of = members_of_results(root)
        return cls(
            root=root,
            study=study,
            places=places,
            identity=identity,
            claims_at_training=claims,
            pilot=pilot,
            made_of=made_of,
        )

    @classmethod
    def at(cls, root: Path) -> "RunDirectory":
        """The run in a folder.

        Raises:
            DamagedFile: study.json is not what was written.
            UserError: the folder is no run directory, or one of another version.
        """
        if not exists(root / STUDY.name):
            repair = "; its study with --repair makes that again" if _folders(root) else ""
            raise UserError(f"{root} is no run directory (it has no study.json){repair}")
        index = STUDY.read(root)
        try:
            run = cls(
                root=root,
                study=index["study"],
                places=tuple(Place(**place) for place in index["conditions"]),
                identity=index["run"],
                claims_at_training=index["claims_at_training"],
                pilot=index.get("pilot", {}),
            )
        except (KeyError, TypeError) as error:
            raise DamagedFile(root / STUDY.name, f"{LACKS} ({error})") from error
        lying, names = _folders(root), {place.name for place in run.places}
        if lying and not names & set(lying):
            raise DamagedFile(root / STUDY.name, f"it is another run's: {lying[0]} is none of its conditions")
        results: dict[str, Any] = {}
        with contextlib.suppress(DamagedFile):  # which is said where they are read
            results = run.owned.read_ledger()
        if results.get("run", run.identity) != run.identity:
            raise DamagedFile(root / STUDY.name, "it is another run's (results.json names another)")
        return run

    @property
    def owned(self) -> OwnedFolder:
        """Its folder as what the program owns."""
        return run_folder(self.root)

    @property
    def claims_changed(self) -> bool:
        """Whether other claims were made when the first network was trained, or it is not known which."""
        return self.claims_at_training is None or Claims(**self.study["claims"]) != Claims(**self.claims_at_training)

    def with_pilot(self, choose: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> "RunDirectory":
        """The run with what its pilot chose; no other process chooses meanwhile.

        Args:
            choose: takes what is kept and returns what is to be kept.
        """
        with self.owned.hold():
            kept = _kept_pilot(self.root)
            _check_pilot(self.root, kept, self.study["pilot"])
            pilot = choose(kept)
            if pilot != kept:
                STUDY.write(self.root, {**STUDY.read(self.root), "pilot": pilot})
        return replace(self, pilot=pilot)

    def folder(self, place: Place) -> Path:
        """Where a condition lies."""
        return self.root / CONDITIONS / place.name

    def members(self, place: Place) -> Pack:
        """The stored members of a condition."""
        key = place.name, "members"
        if key not in self._packs:
            self._packs[key] = member_pack(self.folder(place), condition=place.name, spec=place.spec)
        return self._packs[key]

    def measured(self, place: Place) -> Pack:
        """What was measured of a condition."""
        key = place.name, "measured"
        if key not in self._packs:
            self._packs[key] = measured_pack(self.folder(place), place)
        return self._packs[key]

    @contextlib.contextmanager
    def hold(self, condition: Condition, *, wait: bool, repair: bool = False) -> Iterator[bool]:
        """Work on a condition alone; yields False where another process holds it and not `wait`.

        Args:
            condition: which.
            wait: for whoever holds it.
            repair: set aside what is damaged or misplaced.

        Raises:
            DamagedFile: its spec.json is another condition's, or not what was written; or its members are none of
            those that the run's results were made of.
        """
        folder = self.folder(condition.place)
        if repair:
            _mend_folder(folder)
        with lock(folder / "lock", wait=wait) as held:
            if held:
                clean(folder)
                if repair:
                    self._mend(condition.place)
                for record in self.members(condition.place).records().values():
                    self._check_member(condition.place, record)
                if exists(folder / SPEC.name):
                    self.check_spec(condition.place)
                else:
                    SPEC.write(folder, {"spec": condition.spec})
            yield held

    def check_spec(self, place: Place) -> None:
        """Refuse a spec.json that is not the condition's.

        Raises:
            DamagedFile: it is another condition's, or not what was written.
        """
        folder = self.folder(place)
        if digest(SPEC.read(folder).get("spec"), sort=True) != place.spec:
            raise DamagedFile(folder / SPEC.name, f"it is not the spec of {place.name}")

    def _mend(self, place: Place) -> None:
        for line in mend(self.members(place), partial(self._check_member, place)) + mend(self.measured(place)):
            log.info(line)
        put_aside_if_damaged(self.folder(place) / SPEC.name, lambda: self.check_spec(place))

    def _check_member(self, place: Place, record: Record) -> None:
        """Refuse a member that is another one than that of the run's results.

        Raises:
            DamagedFile: it is.
        """
        made = self.made_of.get(place.name, {}).get(record.header["name"], record.fingerprint)
        if made != record.fingerprint:
            raise DamagedFile(record.path, f"its {record.title} {NOT_THE_ONE}")

    def member_records(self, place: Place, seeds: Sequence[int]) -> dict[int, Record]:
        """The records of those members that are trained, in the order of `seeds`."""
        return member_records(self.members(place), seeds)

    def missing_seeds(self, place: Place, seeds: Sequence[int]) -> list[int]:
        """The seeds whose members are not trained yet."""
        there = self.member_records(place, seeds)
        return [seed for seed in seeds if seed not in there]

    def save_member(self, condition: Condition, member: Member) -> None:
        """Keep one member."""
        save_member(self.members(condition.place), member, condition.network.build_cell())

    def load_members(self, place: Place, seeds: Sequence[int]) -> tuple[Member, ...]:
        """The members of a condition in the order of `seeds`, all of which are there."""
        pack, records = self.members(place), self.member_records(place, seeds)
        for seed in seeds:
            if seed not in records:
                raise UserError(f"{self.folder(place)}: member {seed} is not trained")
        return tuple(load_member(pack, records[seed]) for seed in seeds)

    def load_ensemble(self, condition: Condition, seeds: Sequence[int]) -> Ensemble:
        """The members of a condition in the order of `seeds`, with their task and network."""
        return Ensemble(
            network=condition.network,
            task=condition.task,
            training=condition.training,
            members=self.load_members(condition.place, seeds),
        )

    def report(self, result: StudyResult, *, jobs: int = 1) -> Path:
        """Write report.html and its figures, drawn by `jobs` processes; returns the report's path."""
        with self.owned.hold("figures"):
            return report(result, self.root / "report.html", jobs=jobs)


def _check_folder(root: Path, conditions: Sequence[Condition], repair: bool) -> None:
    """Refuse a folder that holds anything but a run of these conditions or of some of them."""
    if not _folders(root) and not run_folder(root).begun():
        return
    known = _lying_conditions(root) if repair else [place.name for place in RunDirectory.at(root).places]
    names = {condition.name for condition in conditions}
    lost = [name for name in known if name not in names]
    if lost:
        raise UserError(
            f"{root} holds a run with other settings (condition {lost[0]} is not in this study"
            f"{_what_differs(root / CONDITIONS / lost[0], conditions)}); choose another folder with --out"
        )


def _lying_conditions(root: Path) -> list[str]:
    """The conditions of a run of which study.json may be damaged or lost: by their folders then."""
    with contextlib.suppress(DamagedFile):
        if exists(root / STUDY.name):
            return [place.name for place in RunDirectory.at(root).places]
    return _folders(root)


def _folders(root: Path) -> list[str]:
    """The names of the condition folders that lie in a run."""
    return sorted(path.name for path in (root / CONDITIONS).glob("*") if path.is_dir())


def _what_differs(folder: Path, conditions: Sequence[Condition]) -> str:
    """In words, the settings of a stored condition that the most similar one of the study has not."""
    try:
        there = dotted(SPEC.read(folder)["spec"])
    except (UserError, AttributeError, KeyError):  # lost or damaged, and not what this is about
        return ""
    here = [dotted(condition.spec) for condition in conditions]
    keys = min(([k for k in {**there, **one} if there.get(k) != one.get(k)] for one in here), key=len)
    return f": other {', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}" if keys else ""


def _claims_at_training(root: Path, study: Mapping[str, Any]) -> Any:
    """The claims that were written when the first network was trained: those of now where none is yet."""
    packs = root.glob(f"{CONDITIONS}/*/members-*.pack*")
    if not any(path.stat().st_size for path in packs if path.is_file()):
        return study["claims"]
    if exists(root / STUDY.name):
        return RunDirectory.at(root).claims_at_training
    return run_folder(root).read_ledger().get("claims_at_training")


def _identity(root: Path) -> str:
    """What the run in a folder is called; a new name where none has begun there."""
    if exists(root / STUDY.name):
        return RunDirectory.at(root).identity
    return str(run_folder(root).read_ledger().get("run", "")) or secrets.token_hex(16)


def _kept_pilot(root: Path) -> dict[str, Any]:
    """What the pilot of the run in a folder chose; empty where it has chosen nothing yet."""
    if exists(root / STUDY.name):
        return dict(RunDirectory.at(root).pilot)
    return dict(run_folder(root).read_ledger().get("pilot", {}))


def _check_pilot(root: Path, kept: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse other settings than those that a pilot has chosen by: it chooses once."""
    for name, value in asked.items() if kept and asked["n_networks"] else ():
        if kept["settings"][name] != value:
            raise UserError(
                f"{root}: pilot.{name} = {value} is wrong: the run's pilot has chosen by {kept['settings'][name]}, and"
                " chooses once; choose another folder with --out"
            )


def _mend_top(root: Path) -> None:
    """Set a damaged study.json or results.json aside."""
    put_aside_if_damaged(root / STUDY.name, lambda: RunDirectory.at(root))
    put_aside_if_damaged(root / RESULTS.name, run_folder(root).read_ledger)


def _mend_folder(folder: Path) -> None:
    """Set aside what lies where a condition's folder has to be."""
    for path in (folder.parent, folder):
        if exists(path) and not path.is_dir():
            put_aside(path, "it is no folder")
