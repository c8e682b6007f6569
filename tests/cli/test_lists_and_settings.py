"""What the command line prints without a run, and how its settings are read."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import degeneracy
from degeneracy.analysis import MEASURES
from degeneracy.cli import main
from degeneracy.cli.parser import parse_setting
from degeneracy.networks import CELLS, RECURRENT_MAPS
from degeneracy.studies.study import load_study
from degeneracy.tasks import TASKS

# --- What is printed without a run ------------------------------------------------------------------------------


def test_help_and_version_do_not_wait_for_torch() -> None:
    script = (
        "import sys; from degeneracy.cli import main; codes = [main([a]) for a in ('--version', '--help')];"
        "print(codes, sorted(m for m in ('torch', 'numpy', 'pandas', 'matplotlib', 'pydantic') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, encoding="utf-8")
    first, *_, last = done.stdout.splitlines()
    assert first == f"degeneracy {degeneracy.__version__}"
    assert last == "[0, 0] []"


@pytest.mark.parametrize("what", ["tasks", "cells", "measures"])
def test_lists_do_not_wait_for_matplotlib(what: str) -> None:
    script = (
        f"import sys; from degeneracy.cli import main; code = main(['{what}']);print(code, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout.splitlines()[-1] == "0 False"


def test_every_public_name_is_there_and_is_written_once() -> None:
    stub = Path(degeneracy.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    written = re.findall(r"^from \S+ import (\w+) as \1$", stub, re.MULTILINE)
    assert len(written) > 40
    assert sorted(written) == degeneracy.__all__ == sorted(set(written))
    for name in degeneracy.__all__:
        assert getattr(degeneracy, name) is not None
        assert name in dir(degeneracy)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        degeneracy.trian  # noqa: B018


@pytest.mark.parametrize(
    "command", [[], ["run"], ["tune"], ["measure"], ["report"], ["pack"], ["tasks"], ["cells"], ["measures"]]
)
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: {' '.join(['degeneracy', *command])}")
    if command in ([], ["run"], ["tune"], ["measure"]):
        examples = [line for line in text.splitlines() if line.startswith("  degeneracy ")]
        assert len(examples) >= 3
    assert max(map(len, text.splitlines())) <= 120


def test_no_command_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "commands:" in capsys.readouterr().out


def test_tasks_say_their_loss_and_what_stops_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    entries = {text.partition(":")[0]: " ".join(text.split()) for text in capsys.readouterr().out.split("\n\n")}
    assert "loss: mean squared error, in squared output unit; training stops by the loss" in entries["flip_flop"]
    for name in ("streaming_parity", "perceptual_decision"):
        assert "loss: binary cross-entropy, in nats; training stops by wrong decisions" in entries[name]


@pytest.mark.parametrize(
    ("command", "table"), [("tasks", TASKS), ("cells", CELLS | RECURRENT_MAPS), ("measures", MEASURES)]
)
def test_lists_name_everything(command: str, table: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    entries = {entry.partition(":")[0]: " ".join(entry.split()) for entry in out.split("\n\n")[:-1]}
    assert list(entries) == list(table)
    for name, kind in table.items():
        said = [getattr(kind, field, "") for field in ("summary", "citation", "source", "meaning", "zero", "level")]
        for text in said:
            assert " ".join(text.split()) in entries[name]
        for field, info in kind.model_fields.items():
            assert f" {field} " in entries[name]
            assert (info.description or "") in entries[name]
    assert max(map(len, out.splitlines())) <= 110


def test_defaults_are_written_as_a_study_file_takes_them(capsys: pytest.CaptureFixture[str]) -> None:
    main(["measures"])
    text = capsys.readouterr().out
    for line in (
        'score      = "angular"  angular, frobenius, wasserstein',
        "autonomous = true",
        '= ["recurrent", "joint"]',
    ):
        assert line in text


# --- Settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=3", 3),
        ("a.b = 3e-3", 3e-3),
        ("a.b=true", True),
        ("a.b=gru", "gru"),
        ("a.b='gru'", "gru"),
        ("a.b=[2, 3]", [2, 3]),
        ('a.b={name = "x"}', {"name": "x"}),
        ("a.b=0:8", "0:8"),
        ("a.b=x=y", "x=y"),
        ("a.b=", ""),
        ("a.b=1\nc = 2", "1\nc = 2"),  # one value, not a second key
    ],
)
def test_settings_are_toml_or_text(text: str, value: Any) -> None:
    assert parse_setting(text) == ("a.b", value)


@pytest.mark.parametrize("key", ["vary.task.channels", 'vary."task.channels"', "vary . task . channels"])
def test_the_levels_of_a_factor_can_be_set(key: str, here: Path) -> None:
    study = load_study("tiny.toml", [(key, [3]), ("vary.network.hidden_size", [4, 5])][:1])
    assert dict(study.vary) == {"task.channels": (3,)}
    both = load_study("tiny.toml", [(key, [3]), ("network", {}), ("vary.network.hidden_size", [4, 5])])
    assert dict(both.vary) == {"task.channels": (3,), "network.hidden_size": (4, 5)}
    assert [condition.label for condition in both.conditions()] == [
        "channels=3, hidden_size=4",
        "channels=3, hidden_size=5",
    ]


def test_settings_go_over_the_file(here: Path) -> None:
    settings = [("seeds", "5:7"), ("training.learning_rate", 0.5), ("options.procrustes.alpha", 0.5)]
    study = load_study("tiny.toml", settings)
    assert study.seeds == (5, 6)
    assert [c.training.learning_rate for c in study.conditions()] == [0.5, 0.5]
    assert [c.training.batch_size for c in study.conditions()] == [8, 8]
    assert study.build_measures()["procrustes"].model_dump()["alpha"] == 0.5
