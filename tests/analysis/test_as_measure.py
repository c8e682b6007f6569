"""The user's own task, cell and measure: as objects in Python, and as `module:Name` in a study file."""

import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import degeneracy as dg
from degeneracy.analysis import Recording
from degeneracy.checks import CheckFailed, check_cell, check_measure, check_task
from degeneracy.core.errors import UserError
from degeneracy.core.registry import build, describe, look_up
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.measuring.measure import build_measures

OWN = '''
"""A researcher's own file."""
from typing import ClassVar

import numpy as np
import torch

import degeneracy as dg
from degeneracy.analysis.activity import of_active_members
from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.statistics import jackknife


class Accumulate(dg.Task):
    """The running mean of a noisy constant."""

    name: ClassVar[str] = "accumulate"
    summary: ClassVar[str] = "the running mean of the input"
    citation: ClassVar[str] = "ours"
    difficulty_fields: ClassVar[tuple[str, ...]] = ("n_steps",)
    training_defaults: ClassVar[dict] = {"batch_size": 4, "steps_per_epoch": 2, "max_epochs": 2, "patience": 0}
    n_steps: int = 8
    threshold: float = 0.01
    gain: float = 1.0

    @property
    def input_size(self):
        return 1

    @property
    def output_size(self):
        return 1

    def sample(self, streams, n_trials):
        inputs = self.gain * streams.normal((n_trials, self.n_steps, 1))
        return dg.Trials.of(inputs, self.solve(inputs))

    def solve(self, inputs):
        steps = torch.arange(1, inputs.shape[2] + 1, device=inputs.device, dtype=inputs.dtype)
        return inputs.cumsum(2) / steps.view(-1, 1)

    def chance_loss(self):
        return self.gain**2 * sum(1 / t for t in range(1, self.n_steps + 1)) / self.n_steps

    def variants(self):
        return {"amplitude": self.scaled_inputs(0.5)}


class SoftSign(dg.Cell):
    """h_t = s(W_rec h_{t-1} + W_in x_t + b), s(x) = steepness x / (1 + |steepness x|)."""

    name: ClassVar[str] = "softsign"
    summary: ClassVar[str] = "softsign units"
    source: ClassVar[str] = "ours"
    symmetry: ClassVar[str] = "signed_permutation"
    steepness: float = 1.0

    def step(self, params, state, drive):
        return torch.nn.functional.softsign(self.steepness * (drive + torch.matmul(state, params["W_rec"].mT)))


class Spread(dg.Measure):
    """Distance of the members' rms states."""

    name: ClassVar[str] = "spread"
    level: ClassVar[str] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("states",)
    meaning: ClassVar[str] = "difference of rms states"
    zero: ClassVar[str] = "equal rms states"
    source: ClassVar[str] = "ours"
    pairwise: ClassVar[bool] = True
    factor: float = 1.0

    @of_active_members("rms")
    def __call__(self, recording):
        matrix = self.factor * state_distance(recording)
        found = Finding(variant="rms", value=jackknife.pair_mean(matrix))
        return Measured(findings=(found,), distances={"rms": matrix})


def state_distance(recording):
    """Distance of the members' rms states."""
    size = np.array([np.sqrt((x**2).mean()) for x in recording.states])
    return np.abs(size[:, None] - size)


def final_state(recording, scale=1.0):
    """Size of the last state."""
    return [scale * np.linalg.norm(x[:, -1]) for x in recording.states]


final_state.level = "learning"


class AtNetrep:
    """A metric as netrep's."""

    def fit_score(self, x, y):
        return float(np.linalg.norm(x.mean(0) - y.mean(0)))


metric = AtNetrep()
number = 3


def wrong_shape(recording):
    return [1.0]
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the researcher's own file, which is not on Python's path."""
    (tmp_path / "mine_own.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    sys.modules.pop("mine_own", None)
    yield tmp_path
    sys.modules.pop("mine_own", None)


@pytest.fixture
def mine(folder: Path) -> ModuleType:
    look_up("task", "mine_own:Accumulate", {})
    return sys.modules["mine_own"]


def trained(task: Any, network: dg.Network, seeds=(0, 1, 2), jobs: int = 1) -> Ensemble:
    return dg.train(task, network, dg.Training(), seeds=seeds, jobs=jobs, progress=False)


def test_own_parts_pass_the_checks(mine: ModuleType) -> None:
    check_task(mine.Accumulate())
    check_cell(mine.SoftSign())
    check_measure(mine.Spread())


def test_checks_find_a_cell_that_is_not_what_it_says(mine: ModuleType) -> None:
    class NotOdd(mine.SoftSign):
        def step(self, params, state, drive):
            return torch.sigmoid(drive + torch.matmul(state, params["W_rec"].mT))

    class Mixed(mine.SoftSign):
        def step(self, params, state, drive):
            return super().step(params, state, drive - drive.mean(0))

    with pytest.raises(CheckFailed, match="is a symmetry of the cell"):
        check_cell(NotOdd())
    with pytest.raises(CheckFailed, match="does not depend on its companions"):
        check_cell(Mixed())


def test_an_own_task_is_trained_saved_and_measured(mine: ModuleType, folder: Path) -> None:
    ensemble = trained(mine.Accumulate(gain=2.0, threshold=50.0), dg.Network(hidden_size=5))
    assert ensemble.training.batch_size == 4, "its training defaults"
    assert [member.status for member in ensemble.members] == ["converged"] * 3
    loaded = Ensemble.load(ensemble.save(folder / "kept"))
    assert loaded.task == mine.Accumulate(gain=2.0, threshold=50.0)
    assert describe(ensemble.task, dg.TASKS)["name"] == "mine_own:Accumulate"
    result = dg.measure(loaded, loaded.task, measures=["output_distance"], probe=dg.Probe(n_trials=4))
    assert set(result.table.variant) == {"in_distribution", "amplitude"}


def test_an_own_cell_is_trained_by_autograd_and_measured(mine: ModuleType) -> None:
    network = dg.Network(hidden_size=5, cell="mine_own:SoftSign", cell_options={"steepness": 2.0})
    ensemble = trained(dg.tasks.FlipFlop(channels=1, n_steps=6, threshold=9), network.replace(sigma_rec=0.1), [0, 1])
    assert ensemble.members[0].provenance["backend"] == "autograd"
    states, _ = ensemble.rollout(np.ones((1, 1, 1)))
    weights = ensemble.weights()
    drive = 2 * (weights["W_in"][0, :, 0] + weights["bias"][0])
    np.testing.assert_allclose(states[0, 0, 0], drive / (1 + np.abs(drive)), rtol=1e-5)  # float32
    with pytest.raises(UserError, match="unknown key 'steep'"):
        dg.Network(cell="mine_own:SoftSign", cell_options={"steep": 2})


def test_own_measures_stand_beside_the_listed_ones(mine: ModuleType) -> None:
    ensemble = trained(mine.Accumulate(threshold=50.0), dg.Network(hidden_size=5))
    given = ["procrustes", mine.Spread, mine.final_state, "mine_own:state_distance", mine.metric]
    options = {"spread": {"factor": 3.0}, "final_state": {"scale": 2.0}}
    result = dg.measure(ensemble, ensemble.task, measures=given, options=options, probe=dg.Probe(n_trials=6))
    assert list(result.measured) == ["procrustes", "spread", "final_state", "state_distance", "AtNetrep"]
    np.testing.assert_allclose(result.distances["spread"], 3 * result.distances["state_distance"])
    states, _ = ensemble.rollout(ensemble.task.sample(dg.Streams([0], "probe"), 6).inputs[0])
    sizes = np.sqrt((states.astype(float) ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(result.distances["state_distance"][0, 1], abs(sizes[0] - sizes[1]), rtol=1e-9)
    last = 2 * np.linalg.norm(states[:, :, -1].astype(float), axis=(1, 2))
    row = result.table.set_index("measure").loc["final_state"]
    assert row["value"] == pytest.approx(last.mean(), rel=1e-9)
    assert row.level == "learning"
    means = states.astype(float).reshape(3, -1, 5).mean(1)
    found = result.distances["AtNetrep"]
    assert found[0, 2] == pytest.approx(np.linalg.norm(means[0] - means[2]), rel=1e-6)
    own = result.table.set_index("measure").loc["state_distance"]
    assert own.floor == 0
    assert np.isfinite(own.reference), "the same of the untrained members"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine_own:Spraed", "unknown measure in module mine_own 'Spraed'; did you mean 'Spread'?"),
        ("not_there:Spread", "measure 'not_there:Spread': no module 'not_there' here or on Python's path"),
        ("mine_own:number", "a subclass of Measure, a function of a recording or an object with fit_score"),
        ("spraed", "unknown measure 'spraed'"),
        ("mine_own:", "unknown measure in module mine_own ''"),
        (":Spread", "measure ':Spread' is wrong: write module:Name"),
        ("folder/mine_own.py:Spread", "is wrong: write module:Name"),
    ],
)
def test_wrong_names_are_said(name: str, message: str, folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        build_measures([name])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (str(folder) in sys.path) == ("mine_own" in sys.modules), "the folder is on the path once it has served"


def test_an_object_of_another_kind_is_no_task_and_no_cell(folder: Path) -> None:
    with pytest.raises(UserError, match="'mine_own:SoftSign' is no task"):
        build("task", {"name": "mine_own:SoftSign"}, dg.TASKS, dg.Task)
    with pytest.raises(UserError, match="'mine_own:Accumulate' is no cell"):
        dg.Network(cell="mine_own:Accumulate")


def test_a_measure_that_returns_another_shape_is_said(mine: ModuleType) -> None:
    measure = build_measures([mine.wrong_shape])["wrong_shape"]
    with pytest.raises(UserError, match=r"returned shape \(1,\); needed is \(3, 3\)"):
        measure(Recording(members=("0", "1", "2")))


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        (
            [[0, 1, -2], [1, 0, 1], [-2, 1, 0]],
            "the distance of members a and c is -2; a distance is 0 or more",
        ),
        ([[0, 1, 2], [1, 0, 1], [3, 1, 0]], "members a and c are 2 apart one way and 3 the other"),
    ],
)
def test_what_is_no_distance_is_said(distances: list[list[float]], message: str) -> None:
    def measured(recording: Recording) -> np.ndarray:
        return np.array(distances)

    measure = build_measures([measured])["measured"]
    with pytest.raises(UserError, match=message):
        measure(Recording(members=("a", "b", "c")))


def test_distances_may_differ_by_rounding_and_need_no_diagonal() -> None:
    def measured(recording: Recording) -> np.ndarray:
        return np.array([[np.nan, 1.0], [1.0 + 1e-7, np.nan]])  # summed in another order, in single precision

    measure = build_measures([measured])["measured"]
    assert measure(Recording(members=("a", "b"))).findings[0].value.value == pytest.approx(1.0, abs=1e-7)


def test_a_mistake_inside_the_users_module_is_shown_as_it_is(folder: Path) -> None:
    (folder / "mine_own.py").write_text("import not_installed_here\nx = 1\n", encoding="utf-8")
    with pytest.raises(ModuleNotFoundError, match="not_installed_here"):
        look_up("measure", "mine_own:x", {})


STUDY = """
name = "own"
seeds = "0:3"
measures = ["procrustes", "mine_own:Spread", "mine_own:state_distance"]

[task]
name = "mine_own:Accumulate"
gain = 2.0
threshold = 50.0  # far above chance: a member has converged after its first epoch

[network]
hidden_size = 5
cell = "mine_own:SoftSign"

[probe]
n_trials = 6

[options.spread]
factor = 2.0
"""


def test_a_study_file_names_the_users_own_parts(folder: Path) -> None:
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    result = dg.run_study("study.toml", jobs=1, progress=False)
    table = result.table.set_index("measure")
    assert table.loc["spread", "value"] == pytest.approx(2 * table.loc["state_distance", "value"], rel=1e-12)
    again = dg.load_run(folder / "runs" / "own")
    assert again.table.equals(result.table)


def test_several_processes_find_the_users_own_parts(folder: Path) -> None:
    """As the installed command runs: with the working directory not on Python's path."""
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    code = textwrap.dedent("""
        import sys
        sys.path = [path for path in sys.path if path]
        import degeneracy as dg
        table = dg.run_study("study.toml", jobs=2, progress=False).table
        assert table["value"].notna().all(), table
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-2000:]


def test_options_that_a_measure_does_not_take_are_refused() -> None:
    class Metric:
        def fit_score(self, x, y):
            return float(np.abs(x - y).max())

    def spread(recording, factor=1.0):
        return factor * np.ones(len(recording))

    with pytest.raises(UserError, match="'Metric': a metric with fit_score takes no options"):
        build_measures([Metric()], {"Metric": {"alpha": 0.5}})
    with pytest.raises(UserError, match="'spread': got an unexpected keyword argument 'facter'"):
        build_measures([spread], {"spread": {"facter": 2.0}})
    assert build_measures([spread], {"spread": {"factor": 2.0}})["spread"].model_extra == {"factor": 2.0}


def test_an_edited_measure_is_taken_anew(folder: Path) -> None:
    from degeneracy.studies.keys import own_source

    before = own_source(build_measures(["mine_own:state_distance"])["state_distance"])
    assert "def state_distance" in before
    (folder / "mine_own.py").write_text(before + "\n# edited\n", encoding="utf-8")
    assert own_source(build_measures(["mine_own:state_distance"])["state_distance"]) != before
