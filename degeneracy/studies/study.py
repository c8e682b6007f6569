"""A study, as its file (TOML) says it: a task, a network, a training, the factors to vary, the measures, the claims."""

import itertools
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from degeneracy.analysis import MEASURES, Measure
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.notebook import html_table
from degeneracy.core.registry import build
from degeneracy.core.specs import Spec
from degeneracy.core.user_files import read_text, user_path
from degeneracy.ensembles.seeds import check_seeds
from degeneracy.measuring.measure import build_measures
from degeneracy.measuring.probe import Probe, held_input_names, probe_descriptions
from degeneracy.networks import Network
from degeneracy.studies.claims import Claims
from degeneracy.studies.conditions import Condition
from degeneracy.studies.measure_settings import MeasureSetting, measure_settings
from degeneracy.studies.pilot import Pilot, chosen
from degeneracy.studies.settings import dotted, override_all, parse_seeds, set_field, take_scale
from degeneracy.tasks import TASKS, Task
from degeneracy.training import Training

PARTS = ("task", "network", "training")  # of a condition: what can be varied
MAX_CONDITIONS = 10_000  # an ensemble each
STUDIES = {"quickstart": Path(__file__).parent / "quickstart.toml"}


class Study(Spec):
    """A study: one ensemble per condition, one condition per combination of the varied factors' levels."""

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="also of its run directory")
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
    claims: Claims = pydantic.Field(Claims(), description="what is judged, and what is expected: see `Claims`")
    pilot: Pilot = pydantic.Field(Pilot(), description="which chooses rank and delays of linear models: see `Pilot`")

    @pydantic.field_validator("seeds", mode="before")
    @classmethod
    def _seed_range(cls, value: Any) -> Any:
        if not isinstance(value, str | Iterable):
            raise UserError(f'Study: seeds = {value!r} is wrong: needed is a list, or "0:16" for 0 to 15')
        return parse_seeds(value) if isinstance(value, str) else check_seeds(value)

    @pydantic.field_validator("vary", mode="before")
    @classmethod
    def _dotted_factors(cls, value: Any) -> Any:
        return dotted(value) if isinstance(value, Mapping) else value

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
        held_inputs = {name for one in conditions for name in held_input_names(one.task)}
        measures = self.build_measures()
        self.claims.check(self.vary, measures, of_behavior, held_inputs)
        measure_settings(self.claims, measures)
        return self

    def _check_factor(self, factor: str, levels: Sequence[Any]) -> None:
        part, *fields = factor.split(".")
        if part not in PARTS:
            raise unknown_name("part", part, PARTS, where=f"Study: vary '{factor}'")
        if not levels:
            raise UserError(f"Study: vary '{factor}' = [] is wrong: it needs one level or more")
        if not fields and not all(isinstance(level, Mapping) for level in levels):
            raise UserError(f"Study: vary '{factor}' takes tables of fields; to vary one field write '{factor}.FIELD'")
        found: Any = getattr(self, part) if fields else None  # a whole part may be replaced
        for field in fields:
            found = found.get(field) if isinstance(found, Mapping) else None
        if found is not None:
            raise UserError(
                f"Study: '{factor}' is both set ({found}) and varied ({', '.join(map(str, levels))}); drop one of them"
            )

    def _repr_html_(self) -> str:
        rows = [(one.label, len(self.seeds)) for one in (condition.place for condition in self.conditions())]
        title = f"Study {self.name}" + (f": {self.description}" if self.description else "")
        columns = ("condition", "networks to train")
        return html_table(title, columns, rows, f'dg.run_study(study, out="{self.folder}")')

    @property
    def folder(self) -> Path:
        """The run directory where none is named."""
        return Path("runs") / (f"{self.name}-{self.scale}" if self.scale else self.name)

    def build_measures(self) -> dict[str, Measure]:
        """The measures with their options checked."""
        return build_measures(self.measures, self.options)

    def measure_settings(self) -> list[MeasureSetting]:
        """The judged measures at all settings that claims name, beside those that are taken."""
        return measure_settings(self.claims, self.build_measures())

    def after_pilot(self, choices: Sequence[Mapping[str, Any]]) -> "Study":
        """The study with the options that its pilot chose, and without the pilot."""
        options = {name: dict(fields) for name, fields in self.options.items()}
        measures = self.build_measures()
        keys = dict(zip(measures, self.measures, strict=True))  # by which options name those of the user's own
        for name, values in chosen(measures, choices).items():
            options.setdefault(keys[name] if keys[name] in options else name, {}).update(values)
        return Study(**{**self.model_dump(), "options": options, "pilot": Pilot()})

    def conditions(self) -> list[Condition]:
        """The conditions, the last factor varying fastest."""
        made = []
        n_conditions = math.prod(map(len, self.vary.values()))
        if n_conditions > MAX_CONDITIONS:
            raise UserError(f"Study: vary makes {n_conditions} conditions; at most {MAX_CONDITIONS} are possible")
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
    path = STUDIES.get(str(source)) or user_path(source)
    try:
        if not path.exists() and path.suffix != ".toml":
            raise unknown_name("study", source, STUDIES, where="no such file, and")
        fields: dict[str, Any] = tomllib.loads(read_text(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except RecursionError:
        raise UserError(f"cannot read {path}: it is nested too deeply for a study") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"cannot read {path}: damaged TOML: {error}") from error
    take_scale(fields, scale, where=str(path))
    override_all(fields, overrides)
    return Study(**fields)
