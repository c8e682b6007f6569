"""Sizes that no machine has: refused in one line before anything is trained, with the memory that they would take."""

import itertools
from pathlib import Path

import pytest
from mistakes import RUN, STUDY, Mistake, a_file, assert_is_met, study

import degeneracy as dg
from degeneracy.core import memory
from degeneracy.core.errors import UserError
from degeneracy.ensembles.seeds import check_seeds
from degeneracy.training import members

FIXED = a_file("tiny.toml", STUDY.replace("vary.task.channels = [1, 2]", "").replace("0:2", "0:3"))
ALL = study('["procrustes"]', '["procrustes", "dsa", "pif", "orthogonal", "kernel_alignment"]')
DSA = " --set options.dsa.n_delays=2 --set options.dsa.rank="
MISTAKES = {
    "hidden_size": Mistake(
        command=RUN,
        prepare=study("hidden_size = 8", "hidden_size = 1e9"),
        # 5 copies of 1e18 recurrent weights of 4 bytes
        says=r"channels=1: training would take 20 EB of memory or more, and there are [\d.]+ GB: "
        r"hidden_size = 1000000000 alone would take 20 EB",
    ),
    "hidden_size beyond any unit": Mistake(
        command=f"{RUN} --set network.hidden_size=1{'0' * 400}",
        says=r"would take over 999 EB",
        prepare=study(),
    ),
    "one level": Mistake(
        command=RUN,
        prepare=study(
            "vary.task.channels = [1, 2]", "vary.network.init_gain = [1, 2]\nvary.training.n_fixed_trials = [0, 1e13]"
        ),
        says=r"init_gain=1, n_fixed_trials=1e\+13: training would take",
    ),
    "n_steps": Mistake(command=f"{RUN} --set task.n_steps=1e13", prepare=study(), says=r"n_steps = 1\d+ and"),
    # 1e12 trials of 10 steps of 1 input, 1 output and 8 units of 4 bytes
    "batch_size": Mistake(
        command=f"{RUN} --set training.batch_size=1e12",
        prepare=study(),
        says=r"batch_size = 1000000000000 trials with n_steps = 10 and hidden_size = 8 alone would take 400 TB",
    ),
    "n_fixed_trials": Mistake(
        command=f"{RUN} --set training.n_fixed_trials=1e13", prepare=study(), says=r"n_fixed_trials = 1\d+ trials"
    ),
    "coupling": Mistake(
        command=f"{RUN} --set training.coupling.strength=1 --set training.coupling.n_trials=1e12",
        prepare=study(),
        says=r"2 networks at once of coupling.n_trials = 1\d+",
    ),
    "probe": Mistake(
        command=f"{RUN} --set probe.n_trials=1e11",
        prepare=study(),
        says=r"recording would take \d+ TB .* states of 2 networks in probe.n_trials = 1\d+ trials",
    ),
    "behavior": Mistake(
        command=f"{RUN} --set probe.n_behavior_trials=1e12",
        prepare=study(),
        says=r"probe.n_behavior_trials = 1\d+ trials of each variant",
    ),
    "dsa starts": Mistake(
        command=f"{RUN}{DSA}3 --set options.dsa.n_starts=1e12",
        prepare=ALL,
        says=r"measure 'dsa' would take 72 TB .*: n_starts = 1\d+ of rank = 3 alone",
    ),
    "dsa delays and units": Mistake(
        command=f"{RUN} --set options.dsa.n_delays=1e4 --set options.dsa.rank=3 --set task.n_steps=10500"
        " --set network.hidden_size=300",
        prepare=ALL,
        # (1e4 * 300)^2 inner products of 8 bytes
        says=r"measure 'dsa' would take 72 TB .*: n_delays = 10000 of 300 units alone would take 72 TB",
    ),
    "pif": Mistake(
        command=f"{RUN}{DSA}3 --set options.pif.n_restarts=1e12",
        prepare=ALL,
        says=r"n_restarts = 1\d+ with 8",
    ),
    "orthogonal": Mistake(
        command=f"{RUN}{DSA}3 --set options.orthogonal.n_starts=1e12",
        prepare=ALL,
        says=r"n_starts = 1\d+ with",
    ),
    "kernel": Mistake(
        command=f"{RUN}{DSA}3 --set options.kernel_alignment.n_trials=1e12 --set probe.n_trials=1e6",
        prepare=ALL,
        says=r"measure 'kernel_alignment' would take 32 TB",
    ),
    "seeds": Mistake(
        command=f"{RUN} --seeds 0:1000000000",
        prepare=study(),
        says=r"seeds = '0:1\d+' is wrong: at most 100000",
    ),
    "seeds in parts": Mistake(
        command=f"{RUN} --seeds 0:60000,70000:120000",
        prepare=study(),
        says=r"is wrong: at most 100000 members",
    ),
    "seed": Mistake(command=f"{RUN} --seeds 0,1{'0' * 30}", prepare=study(), says=r"a seed is at most 1\d+"),
    "conditions": Mistake(
        command=RUN,
        prepare=study(
            "vary.task.channels = [1, 2]", f"vary.network.init_gain = {[1 + k / 1000 for k in range(10_001)]}"
        ),
        says=r"vary makes 10001 conditions; at most 10000 are possible",
    ),
    "knob": Mistake(
        command="tune tiny.toml --knob network.hidden_size --measure procrustes --target 0.3 --low 8 --high 1e9",
        prepare=FIXED,
        says=r"training would take 20 EB",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_they_are_met(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_is_met(MISTAKES[name], tmp_path, {}, monkeypatch, capsys)


TASK = dg.tasks.FlipFlop(channels=1, n_steps=10, threshold=2.0)
SMALL = dg.Training(batch_size=8, steps_per_epoch=2, max_epochs=5, patience=1)


@pytest.fixture
def _nothing_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "_train_one", lambda *_: pytest.fail("trained"))


@pytest.mark.usefixtures("_nothing_trained")
def test_training_from_python_is_refused_too() -> None:
    with pytest.raises(UserError, match="hidden_size = 1000000 alone would take 20 TB"):
        dg.train(TASK, dg.Network(hidden_size=10**6), SMALL, seeds=range(2), progress=False)
    # 100,000 networks of 1e6 recurrent weights and a few more, before and after training, of 4 bytes: 803 GB
    with pytest.raises(UserError, match=r"an ensemble would take 80\d GB .*: the parameters of 100000 networks"):
        dg.train(TASK, dg.Network(hidden_size=1000), SMALL, seeds=range(100_000), progress=False)


@pytest.mark.parametrize("seeds", [range(10**12), range(10**30), itertools.count()], ids=repr)
def test_endless_seeds_are_refused_before_they_are_counted(seeds) -> None:
    with pytest.raises(UserError, match=r"seeds = (range\(0, 10+\)|\[0, 1, \.\.\.\]) is wrong: at most 100000 members"):
        check_seeds(seeds)


def test_a_wrong_seed_among_many_is_one_short_line() -> None:
    with pytest.raises(UserError) as raised:
        check_seeds([*range(50_000), -1])
    assert len(str(raised.value)) < 200


def test_measuring_from_python_is_refused_too() -> None:
    ensemble = dg.train(TASK, dg.Network(hidden_size=8), SMALL, seeds=range(2), jobs=1, progress=False)
    with pytest.raises(UserError, match=r"recording would take .*probe.n_trials = 1000000000000 trials"):
        dg.measure(ensemble, TASK, measures=["procrustes"], probe=dg.Probe(n_trials=10**12))
    with pytest.raises(UserError, match=r"measure 'dsa' would take .*n_starts"):
        dg.measure(ensemble, TASK, measures=["dsa"], options={"dsa": {"rank": 2, "n_delays": 2, "n_starts": 10**12}})


@pytest.mark.usefixtures("_nothing_trained")
def test_the_limit_is_that_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 copies of 1024 * 1024 recurrent weights, and 2 * 1024 more and a few, of 4 bytes are 21.0 MB."""
    monkeypatch.setattr(memory, "machine_memory", lambda: 20_000_000)
    with pytest.raises(UserError, match=r"training would take 21\.\d MB .* there are 20 MB: hidden_size = 1024"):
        dg.train(TASK, dg.Network(hidden_size=1024), SMALL, seeds=range(2), progress=False)
