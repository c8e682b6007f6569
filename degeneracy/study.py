"""The flow, and the file to read first: study -> train -> record -> measure -> table.

A study file (TOML) names a task, a network, a training, the factors to vary and the measures; `run_study` trains
what is not trained yet, measures what is not measured yet, and writes the table. Every step is kept as it is
done, so a run that was stopped anyhow goes on where it was and ends with the same results.
"""

import inspect
import itertools
import time
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic

from degeneracy.analysis import MEASURES, Measure, Measured
from degeneracy.claims import Claims
from degeneracy.conditions import Condition, digest
from degeneracy.ensemble import check_seeds
from degeneracy.errors import UserError, unknown_name
from degeneracy.measuring import (
    build_measures,
    example_trials,
    measure_recording,
    measures_of,
    member_summaries,
    result_spec,
    split_outcome,
)
from degeneracy.named import build
from degeneracy.networks import Network
from degeneracy.probe import Probe, probe_descriptions
from degeneracy.progress import Progress
from degeneracy.record import record
from degeneracy.results import Result, StudyResult
from degeneracy.run_directory import RunDirectory
from degeneracy.settings import flat_factors, key_parts, override, parse_seeds, set_field, take_scale
from degeneracy.specs import Spec
from degeneracy.tasks import TASKS, Task
from degeneracy.training import Training, resolve_device, resolve_jobs, train_members
from degeneracy.version import __version__

PARTS = ("task", "network", "training")  # of a condition: what can be varied
STUDIES = {"quickstart": Path(__file__).parent / "quickstart.toml"}


class Study(Spec):
    """A study: one ensemble a condition, one condition a combination of the varied factors' levels."""

    name: str = pydantic.Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="also of its run directory"
    )
    description: str = ""
    scale: str = pydantic.Field("", description="which of the study file's scales this is")
    seeds: tuple[int, ...] = pydantic.Field(description='members: a list, or "0:16" for 0 to 15')
    task: Mapping[str, Any] = pydantic.Field(description="name and fields of the task")
    network: Mapping[str, Any] = pydantic.Field(default_factory=dict, description="fields of the network")
    training: Mapping[str, Any] = pydantic.Field(default_factory=dict, description="fields of the training")
    vary: Mapping[str, tuple[Any, ...]] = pydantic.Field(
        default_factory=dict, description='factors as "task.channels" = [2, 3, 4]'
    )
    probe: Probe = Probe()
    measures: tuple[str, ...] = pydantic.Field(tuple(MEASURES), description="names, or module:Name")
    options: Mapping[str, Mapping[str, Any]] = pydantic.Field(
        default_factory=dict, description="fields of the measures, by measure"
    )
    claims: Claims = pydantic.Field(
        Claims(), description="what is judged, and what is expected: see `Claims`"
    )

    @pydantic.field_validator("seeds", mode="before")
    @classmethod
    def _seed_range(cls, value: Any) -> Any:
        if not isinstance(value, str | Iterable):
            raise UserError(f'Study: seeds = {value!r} is wrong: needed is a list, or "0:16" for 0 to 15')
        return parse_seeds(value) if isinstance(value, str) else check_seeds(value)

    @pydantic.field_validator("vary", mode="before")
    @classmethod
    def _dotted_factors(cls, value: Any) -> Any:
        return flat_factors(value) if isinstance(value, Mapping) else value

    @pydantic.model_validator(mode="after")
    def _all_parts_exist(self) -> "Study":
        if len(self.seeds) < 2:
            raise UserError(f"Study: seeds = {list(self.seeds)} is wrong: 2 members or more are needed")
        for factor, levels in self.vary.items():
            self._check_factor(factor, levels)
        conditions = self.conditions()
        if len({condition.name for condition in conditions}) < len(conditions):
            raise UserError("Study: vary names the same condition twice")
        of_behavior = {name for one in conditions for name in probe_descriptions(one.task, self.probe)}
        self.claims.check(self.vary, self.build_measures(), of_behavior)
        return self

    def _check_factor(self, factor: str, levels: Sequence[Any]) -> None:
        part, *fields = factor.split(".")
        if part not in PARTS:
            raise unknown_name("part", part, PARTS, where=f"Study: vary '{factor}'")
        if not levels:
            raise UserError(f"Study: vary '{factor}' = [] is wrong: it needs one level or more")
        if not fields and not all(isinstance(level, Mapping) for level in levels):
            raise UserError(
                f"Study: vary '{factor}' takes tables of fields; to vary one field write '{factor}.FIELD'"
            )
        found: Any = getattr(self, part) if fields else None  # a whole part may be replaced
        for field in fields:
            found = found.get(field) if isinstance(found, Mapping) else None
        if found is not None:
            raise UserError(
                f"Study: '{factor}' is both set ({found}) and varied ({', '.join(map(str, levels))}); drop one of them"
            )

    @property
    def folder(self) -> Path:
        """The run directory where none is named."""
        return Path("runs") / (f"{self.name}-{self.scale}" if self.scale else self.name)

    def build_measures(self) -> dict[str, Measure]:
        """The measures with their options checked."""
        return build_measures(self.measures, self.options)

    def conditions(self) -> list[Condition]:
        """The conditions, the last factor varying fastest."""
        made = []
        for levels in itertools.product(*self.vary.values()):
            fields = {"task": dict(self.task), "network": dict(self.network), "training": dict(self.training)}
            for factor, level in zip(self.vary, levels, strict=True):
                set_field(fields, factor.split("."), level)
            task = build("task", fields["task"], TASKS, Task)
            training = Training(**fields["training"]).for_task(task)
            made.append(
                Condition(
                    factors=dict(zip(self.vary, levels, strict=True)),
                    task=task,
                    network=Network(**fields["network"]),
                    training=training,
                    companions=self.seeds if training.coupled else (),
                )
            )
        return made


def load_study(source: str | Path, overrides: Iterable[tuple[str, Any]] = (), *, scale: str = "") -> Study:
    """Read a study file, or a study that comes with the package.

    Args:
        source: a path to a TOML file, or a name in `STUDIES`.
        overrides: (key, value) pairs such as ("training.learning_rate", 0.003), set over the file's; keys as in
            TOML, e.g. 'vary.task.channels' or 'options."my_module:MyMeasure".scale'.
        scale: for a study file with tables `[scale.NAME]` of such pairs: which one is set over the rest.

    Raises:
        UserError: no such file or name, damaged TOML, or what `Study` refuses.
    """
    path = STUDIES.get(str(source), Path(source))
    try:
        if not path.exists() and path.suffix != ".toml":
            raise unknown_name("study", source, STUDIES, where="no such file, and")
        fields: dict[str, Any] = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: damaged TOML: {error}") from error
    take_scale(fields, scale, where=str(path))
    for key, value in overrides:
        override(fields, key, value)
    return Study(**fields)


def run_study(
    study: Study | str | Path,
    *,
    out: str | Path = "",
    device: str = "auto",
    jobs: int = -1,
    progress: bool = True,
) -> StudyResult:
    """Run a study, or go on with it: train and measure what is missing, write table and provenance.

    Several processes may run the same study into the same folder: each takes conditions that no other holds.

    Args:
        study: a `Study`, a path to a study file or a name in `STUDIES`.
        out: the run directory; `runs/NAME` by default, `runs/NAME-SCALE` for a study with scales.
        device: "auto", "cpu" or "cuda".
        jobs: processes on a CPU, -1 for one a core.
        progress: show a progress bar on standard error; where that is no terminal, lines of the logger
            "degeneracy", level INFO.

    Returns:
        What was measured; also in the run directory (`degeneracy.csv` and more, see README).

    Raises:
        UserError: a mistake in the study, or a folder that holds something else.
    """
    plan = study if isinstance(study, Study) else load_study(study)
    place, n_jobs = resolve_device(device), resolve_jobs(jobs)
    conditions = plan.conditions()
    for condition in conditions:
        condition.check_measures(plan.build_measures(), plan.probe)
    root = Path(out) if out else plan.folder
    run = RunDirectory.open(root, plan.model_dump(mode="json"), conditions)
    started = time.perf_counter()
    measures = plan.build_measures()
    n_steps = sum(len(plan.seeds) + len(measures_of(one.task, measures)) for one in conditions)
    with Progress(n_steps, show=progress) as shown:
        _work_through(run, plan, list(conditions), place, n_jobs, shown)
    return run.finish(_load_results(run, plan), seconds=time.perf_counter() - started)


def _work_through(
    run: RunDirectory, plan: Study, waiting: list[Condition], device: str, jobs: int, shown: Progress
) -> None:
    """Take whichever condition no other process holds; wait for another only when nothing else is left."""
    while waiting:
        left = list(waiting)
        for condition in left:
            with run.hold(condition, wait=False) as held:
                if held:
                    _train_missing(run, condition, plan.seeds, device, jobs, shown)
                    _measure_missing(run, condition, plan, jobs, shown)
                    waiting.remove(condition)
        if waiting == left:
            shown.wait(f"{waiting[0].label}: waiting for the process that works on it")
            with run.hold(waiting[0], wait=True):
                pass


def _train_missing(
    run: RunDirectory, condition: Condition, seeds: Sequence[int], device: str, jobs: int, shown: Progress
) -> None:
    """Train the members whose files are not there, keeping each as it finishes."""
    missing = run.missing_seeds(condition, seeds)
    there = len(seeds) - len(missing)
    shown.begin(f"{condition.label}: training", "networks", done=there, of=len(seeds))
    if not missing:
        return
    together = seeds if condition.training.coupled else missing
    members = train_members(
        condition.task, condition.network, condition.training, together, device=device, jobs=jobs
    )
    for member in members:
        if member.seed in missing:
            run.save_member(condition, member)
            shown.step()


def _measure_missing(
    run: RunDirectory, condition: Condition, plan: Study, jobs: int, shown: Progress
) -> None:
    """Measure what is not measured yet of these members with these options, keeping each measure as it is done."""
    measures = measures_of(condition.task, plan.build_measures())
    ensemble = run.load_ensemble(condition, plan.seeds)
    kept = ensemble.converged
    keys = {name: measured_key(name, m, kept.seeds, plan.probe) for name, m in measures.items()}
    todo = {name: m for name, m in measures.items() if not run.has_measured(condition, name, keys[name])}
    there = len(measures) - len(todo)
    shown.begin(f"{condition.label}: measuring", "measures", done=there, of=len(measures))
    if len(kept) >= 2 and (todo or not run.has_examples(condition)):
        run.save_examples(condition, example_trials(kept, condition.task, plan.probe))
    if not todo:
        return
    if len(kept) < 2:
        reason = f"needs 2 converged members, {len(kept)} of {len(ensemble)} converged"
        found: Iterable[tuple[str, Measured | str]] = [(name, reason) for name in todo]
    else:
        found = measure_recording(record(kept, condition.task, plan.probe), todo, jobs=jobs)
    for name, outcome in found:
        run.save_measured(condition, name, outcome, keys[name])
        shown.step()


def measured_key(name: str, measure: Measure, members: Sequence[int], probe: Probe) -> str:
    """What a stored measurement must have been made with to be used again."""
    built_in = type(measure) in MEASURES.values()
    made_with: dict[str, Any] = {
        "measure": name,
        "options": measure.model_dump(mode="json"),
        "members": list(members),
        "probe": probe.seen_by(measure.needs if built_in else ()),
        "version": __version__,
    }
    if measure.revision:
        made_with["revision"] = measure.revision
    if not built_in:
        made_with["source"] = own_source(measure)
    return digest(made_with)


def own_source(measure: Measure) -> str:
    """The text of the file that a measure of the user's own comes from, so that an edited one is taken anew."""
    thing = getattr(type(measure), "thing", type(measure))
    try:
        found = inspect.getsourcefile(
            thing if inspect.isroutine(thing) or isinstance(thing, type) else type(thing)
        )
        return Path(found).read_text() if found else ""
    except (OSError, TypeError):  # made in a console, or no Python source
        return ""


def load_run(path: str | Path) -> StudyResult:
    """The results of a finished run, from its directory.

    Raises:
        UserError: no run directory, a run that is not finished, or a damaged file; names it.
    """
    run = RunDirectory.at(Path(path))
    return replace(_load_results(run, Study(**run.study)), provenance=run.provenance)


def load_runs(folder: str | Path, names: Iterable[str] = (), *, scale: str = "") -> dict[str, StudyResult]:
    """The results of the finished runs in a folder, such as `runs`.

    Args:
        folder: holds run directories.
        names: of studies, in the order wanted; those that have no finished run there are left out. All by default.
        scale: only runs of this scale.

    Returns:
        By the study's name.

    Raises:
        UserError: no such folder, no finished run in it, or a damaged file; names it.
    """
    place = Path(folder)
    if not place.is_dir():
        raise UserError(f"{place} is no folder with run directories")
    found = {}
    for path in sorted(place.iterdir()):
        if (path / "study.json").is_file() and (path / "provenance.json").is_file():
            run = RunDirectory.at(path)
            if not scale or run.study.get("scale", "") == scale:
                found[run.study["name"]] = path
    wanted = list(names) or list(found)
    runs = {name: load_run(found[name]) for name in wanted if name in found}
    if not runs:
        what = f"no finished run of {', '.join(names) or 'a study'}" + (f" at scale {scale}" if scale else "")
        raise UserError(f"{place} holds {what}")
    return runs


def _load_results(run: RunDirectory, plan: Study) -> StudyResult:
    """The results of a study from its run directory, where all is trained and measured."""
    measures = plan.build_measures()
    results = []
    for condition in plan.conditions():
        _check_trained(run, condition, plan.seeds)
        results.append(_load_result(run, condition, plan, measures_of(condition.task, measures)))
    return StudyResult(
        name=plan.name,
        description=plan.description,
        scale=plan.scale,
        results=tuple(results),
        claims=plan.claims,
    )


def remeasured(
    path: str | Path, measures: Sequence[str] = (), overrides: Iterable[tuple[str, Any]] = ()
) -> Study:
    """The study of a run with other measures, options or probe trials, whose networks are all trained.

    `run_study(remeasured(path, ...), out=path)` measures them and trains nothing.

    Args:
        path: a run directory.
        measures: names; those of the run where none are given. Options and claims of measures left out are dropped.
        overrides: (key, value) pairs as of `load_study`, of `options`, `probe` and `measures` only.

    Raises:
        UserError: no run directory, networks that are not trained yet, or what the study refuses.
    """
    run = RunDirectory.at(Path(path))
    fields = dict(run.study)
    if measures:
        names = {*measures, *build_measures(measures)}
        fields |= {"measures": list(measures)}
        fields["options"] = {name: given for name, given in fields["options"].items() if name in names}
        claims = fields.get("claims", {})  # runs of earlier versions have none
        fields["claims"] = {
            key: claim for key, claim in claims.items() if key == "factors" or claim["measure"] in names
        }
    for key, value in overrides:
        if key_parts(key)[0] not in ("options", "probe", "measures"):
            raise UserError(
                f"'{key}' cannot be set for a run that is trained: only options, probe and measures can"
            )
        override(fields, key, value)
    plan = Study(**fields)
    for condition in plan.conditions():
        _check_trained(run, condition, plan.seeds)
    return plan


def _check_trained(run: RunDirectory, condition: Condition, seeds: Sequence[int]) -> None:
    missing = run.missing_seeds(condition, seeds)
    if missing:
        raise UserError(
            f"{run.root}: the run is not finished ({condition.label}: {len(missing)} of {len(seeds)} networks"
            " are not trained); start it again to go on"
        )


def _load_result(
    run: RunDirectory, condition: Condition, plan: Study, measures: dict[str, Measure]
) -> Result:
    ensemble = run.load_ensemble(condition, plan.seeds)
    kept = ensemble.converged
    outcome = {}
    for name, measure in measures.items():
        key = measured_key(name, measure, kept.seeds, plan.probe)
        if not run.has_measured(condition, name, key):
            raise UserError(
                f"{run.root}: the run is not finished ({condition.label}: '{name}' is not measured);"
                " start it again to go on"
            )
        outcome[name] = run.load_measured(condition, name)
    found, lacks = split_outcome(outcome)
    return Result(
        condition=condition.label,
        factors=condition.factors,
        spec=result_spec(ensemble, condition.task, measures, plan.probe),
        members=member_summaries(ensemble),
        measured_members=tuple(str(seed) for seed in kept.seeds),
        levels={name: m.level for name, m in measures.items()},
        measured=found,
        missing=lacks,
        examples=run.load_examples(condition) if len(kept) >= 2 else None,
    )
