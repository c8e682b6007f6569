"""What the README shows works as it is written."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest
import safetensors.torch
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


def plain_networks() -> list[tuple[torch.nn.RNN, torch.nn.Linear]]:
    """Two `nn.RNN` with their readouts."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [(torch.nn.RNN(2, 8, batch_first=True), torch.nn.Linear(8, 2)) for _ in range(2)]


def test_arrays_of_ones_own_networks() -> None:
    [source] = [block for block in blocks("python") if "dg.measure_arrays(" in block]
    networks = plain_networks()
    inputs = torch.randn(24, 15, 2, generator=torch.Generator().manual_seed(0))
    states = torch.stack([rnn(inputs)[0] for rnn, _ in networks])
    scope = {"dg": dg, "inputs": inputs, "states": states, "weights": [rnn.weight_hh_l0 for rnn, _ in networks]}
    exec(compile(source, "README", "exec"), scope)
    result = scope["result"]
    assert not result.missing
    assert set(result.table["measure"]) == {"linear_flow", "signed_pif"}
    assert result.table["value"].notna().all()
    assert result.spec["cell"] == {"name": "tanh"}


class Stepped(torch.nn.Module):
    """A module of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.core, self.out = torch.nn.RNNCell(2, 8), torch.nn.Linear(8, 2)
        self.w_rec, self.w_in = self.core.weight_hh, self.core.weight_ih

    def step(self, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.core(x, h)


def test_modules_of_ones_own() -> None:
    [source] = [block for block in blocks("python") if "from_modules" in block]
    for large, small in (
        ("[(rnn, readout), ...]", "pairs"),
        ("state_size=64", "state_size=8"),
        ("input_size=3", "input_size=2"),
        ("dg.measure(ensemble, task", 'dg.measure(ensemble, task, measures=["cka"], probe=dg.Probe(n_trials=4)'),
    ):
        assert large in source
        source = source.replace(large, small)
    scope = {"dg": dg, "pairs": plain_networks(), "modules": [Stepped(), Stepped()]}
    scope["task"] = dg.tasks.FlipFlop(channels=2, n_steps=10)
    exec(compile(source[: source.index("networks = dg.load_run")], "README", "exec"), scope)
    assert scope["result"].condition == "flip_flop"


def test_parameters_of_ones_own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [source] = [block for block in blocks("python") if "from_state_dicts" in block]
    monkeypatch.chdir(tmp_path)
    lstm, head = torch.nn.LSTM(2, 8), torch.nn.Linear(8, 2)
    state = {**lstm.state_dict(), **head.state_dict(prefix="head.")}
    safetensors.torch.save_file(state, "a.safetensors")
    torch.save(state, "b.pt")
    fixture = Path(__file__).parent / "ensembles" / "fixtures" / "keras_gru.safetensors"
    stored = safetensors.torch.load_file(fixture)
    parameters = {name: value[0] for name, value in stored.items() if "/" in name}
    for short, whole in (
        ("[parameters, ...]", "[parameters]"),
        ('"head.weight", ...', '"head.weight", **rest'),
    ):
        assert short in source
        source = source.replace(short, whole)
    rest = {name: name for name in lstm.state_dict()} | {"bias": "head.bias"}
    scope = {"dg": dg, "parameters": parameters, "rest": rest}
    exec(compile(source, "README", "exec"), scope)
    assert len(scope["ensemble"]) == len(scope["again"]) == 2
    assert all(torch.equal(scope["again"].params()[n], v) for n, v in scope["ensemble"].params().items())


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
