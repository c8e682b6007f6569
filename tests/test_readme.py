"""What the README shows works as it is written."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import degeneracy as dg
from degeneracy.analysis import MEASURES
from degeneracy.checks import check_task
from degeneracy.networks import CELLS, RECURRENT_MAPS
from degeneracy.tasks import TASKS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

ZOO = Path(__file__).parents[1] / "figures" / "zoo"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("name", [*TASKS, *CELLS, *RECURRENT_MAPS, *MEASURES])
def test_everything_there_is_has_its_place_in_the_text(name: str) -> None:
    assert f"`{name}`" in README, "a row of a table, or the list that it belongs to"


def test_the_own_task_and_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [source] = [block for block in blocks("python") if "class Accumulate" in block]
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("mine")
    try:
        check_task(mine.Accumulate())
        study = dg.Study(
            name="own",
            seeds="0:2",
            task={"name": "mine:Accumulate", "n_steps": 6, "threshold": 2.0},
            network={"hidden_size": 4},
            training={"batch_size": 4, "steps_per_epoch": 2},
            probe={"n_trials": 4},
            measures=("mine:mean_speed",),
        )
        [row] = dg.run_study(study, jobs=1, progress=False).table.to_dict("records")
        assert row["measure"] == "mean_speed"
        assert row["value"] > 0
    finally:
        sys.modules.pop("mine", None)


def test_the_study_file() -> None:
    [source] = [block for block in blocks("toml") if "[task]" in block]
    study = dg.Study(**tomllib.loads(source))
    assert [condition.task.delay_max for condition in study.conditions()] == [10, 20]
    assert {condition.network.cell for condition in study.conditions()} == {"gru"}
    assert study.claims.dynamics.expected == {"task.delay_max": "up"}


def test_the_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small: fewer seeds, units and steps."""
    [source] = [block for block in blocks("python") if "dg.report" in block]
    for large, small in (
        ("n_steps=50", "n_steps=10, threshold=2.0"),
        ("batch_size=64, steps_per_epoch=25", "batch_size=8, steps_per_epoch=2"),
        ("hidden_size=64", "hidden_size=6"),
        ("range(8)", "range(2), jobs=1, progress=False"),
        ('"rank": 20, "n_delays": 10', '"rank": 4, "n_delays": 2, "n_starts": 2'),
        ("jobs=2", "jobs=1"),
    ):
        assert large in source
        source = source.replace(large, small)
    monkeypatch.chdir(tmp_path)
    exec(compile(source, "README", "exec"), {})
    assert (tmp_path / "flipflop" / "report.html").exists()
    assert len(dg.Ensemble.load("flipflop/networks")) == 2


def test_the_example_of_ones_own_networks() -> None:
    """Two `nn.RNN` with their readouts, whose states and weights are given as arrays too."""
    [source] = [block for block in blocks("python") if "measure_arrays" in block]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        modules = [(torch.nn.RNN(2, 8, batch_first=True), torch.nn.Linear(8, 2)) for _ in range(2)]
    inputs = torch.randn(24, 15, 2, generator=torch.Generator().manual_seed(0))
    for large, small in (
        ("[(rnn, readout), ...]", "modules"),
        (
            "dg.measure(ensemble, task",
            'dg.measure(ensemble, task, measures=["cka"], probe=dg.Probe(n_trials=4)',
        ),
    ):
        assert large in source
        source = source.replace(large, small)
    scope = {
        "dg": dg,
        "modules": modules,
        "task": dg.tasks.FlipFlop(channels=2, n_steps=10),
        "inputs": inputs,
        "states": torch.stack([rnn(inputs)[0] for rnn, _ in modules]),
        "weights": [rnn.weight_hh_l0 for rnn, _ in modules],
    }
    lines = source.splitlines()
    [k] = [k for k, line in enumerate(lines) if "measure_arrays" in line]
    exec(compile("\n".join(lines[: k + 1]), "README", "exec"), scope)
    result = scope["result"]
    assert not result.missing
    assert set(result.table["measure"]) == {"linear_flow", "signed_pif"}
    assert result.table["value"].notna().all()
    assert result.table["value"].notna().all()
    assert result.spec["cell"] == {"name": "tanh"}
    exec(compile("\n".join(lines), "README", "exec"), scope)
    assert scope["result"].condition == "flip_flop"


def test_the_kept_networks() -> None:
    [source] = [block for block in blocks("python") if "load_zoo" in block]
    scope, few = {"dg": dg}, '["procrustes"], probe=dg.Probe(n_trials=8), jobs=1'
    # An installed package brings no networks: those of the checkout that the tests are in.
    here = f'load_zoo("complexity_flip_flop", directory={str(ZOO)!r})'
    assert 'load_zoo("complexity_flip_flop")' in source
    source = source.replace('load_zoo("complexity_flip_flop")', here).replace('["procrustes"]', few)
    exec(compile(source, "README", "exec"), scope)
    assert scope["result"].table["value"].notna().all()


def test_every_link_to_a_file_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
    assert not re.search(r"PICTURE|QSTIME|TESTTIME", README)
