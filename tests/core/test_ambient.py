"""Ambient state of torch and numpy: whatever the caller has set, every verb gives the same bits, and leaves it set."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import degeneracy as dg
from degeneracy.checks import check_cell, check_measure, check_task, state_changes
from degeneracy.core.ambient import ordinary_state
from degeneracy.measuring.record import record
from degeneracy.networks.cells import CELLS

TASK = dg.tasks.FlipFlop(channels=2, n_steps=12, threshold=9.0)
TRAINING = dg.Training(batch_size=4, steps_per_epoch=3, max_epochs=1, patience=0)
PROBE = dg.Probe(n_trials=8)
OPTIONS = {"dsa": {"rank": 4, "n_delays": 2}, "fixed_points": {"n_starts": 8}, "pif": {"n_restarts": 2}}
MEASURES = (
    "dsa",
    "fixed_points",
    "procrustes",
    "cka",
    "pif",
    "orthogonal",
    "kernel_alignment",
    "output_distance",
)


@contextmanager
def put_back(put: Callable[..., Any], value: Any, before: Any) -> Iterator[None]:
    """Something set for the whole process, and what it was afterwards."""
    put(value)
    try:
        yield
    finally:
        put(before)


# What a user's notebook may have set.
STATES: dict[str, Callable[[], Any]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "default_device": lambda: put_back(torch.set_default_device, "meta", None),
    "device_context": lambda: torch.device("meta"),
    "default_dtype": lambda: put_back(torch.set_default_dtype, torch.float64, torch.float32),
    "deterministic": lambda: put_back(torch.use_deterministic_algorithms, True, False),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "flush_denormal": lambda: put_back(torch.set_flush_denormal, True, False),
    "precision": lambda: put_back(torch.set_float32_matmul_precision, "medium", "highest"),
    "errstate": lambda: np.errstate(all="raise"),
}


@contextmanager
def together() -> Iterator[None]:
    """All of them at once."""
    with ExitStack() as stack:
        for state in STATES.values():
            stack.enter_context(state())
        yield


def ensemble(cell: str = "gru", seeds=(0, 1, 2), **fields: Any) -> dg.Ensemble:
    network = dg.Network(hidden_size=6, cell=cell)
    return dg.train(TASK, network, TRAINING.replace(**fields), seeds=seeds, jobs=1, progress=False)


def numbers(thing: Any) -> Any:
    """Everything in what a verb returned, as plain data that `==` compares."""
    if isinstance(thing, dg.Ensemble):
        return numbers([(vars(m.history), m.initial, m.final) for m in thing.members])
    if isinstance(thing, dg.Result):
        return numbers([thing.table, thing.missing, {n: m.distances for n, m in thing.measured.items()}])
    if isinstance(thing, pd.DataFrame):
        return thing.drop(columns="seconds", errors="ignore").to_csv()
    if isinstance(thing, torch.Tensor):
        assert not thing.is_inference()
        return str(thing.dtype), tuple(thing.shape), thing.numpy().tobytes()
    if isinstance(thing, np.ndarray):
        return str(thing.dtype), thing.shape, thing.tobytes()
    if isinstance(thing, dict):
        return {name: numbers(value) for name, value in thing.items()}
    if isinstance(thing, tuple | list):
        return [numbers(each) for each in thing]
    return thing


def modules() -> list[tuple[nn.Module, nn.Module]]:
    made = []
    for k in range(2):
        core = nn.LSTM(2, 6, device="cpu", dtype=torch.float32)
        readout = nn.Linear(6, 2, device="cpu", dtype=torch.float32)
        gen = torch.Generator().manual_seed(k)
        with torch.no_grad():
            for parameter in (*core.parameters(), *readout.parameters()):
                parameter.normal_(std=0.5, generator=gen)
        made.append((core, readout))
    return made


def state_file(path: Path, core: nn.Module, readout: nn.Module) -> Path:
    torch.save({**core.state_dict(prefix="core."), **readout.state_dict(prefix="readout.")}, path)
    return path


def study() -> dg.Study:
    fields = {
        "name": "ambient",
        "task": {"name": "flip_flop", "channels": 2, "n_steps": 12, "threshold": 9.0},
    }
    fields |= {"network": {"hidden_size": 6}, "seeds": [0, 1], "measures": ["dsa", "signed_pif"]}
    fields |= {"training": TRAINING.replace(checkpoints=(0.5,)).model_dump(mode="json", exclude_unset=True)}
    return dg.Study(**fields, options={"dsa": OPTIONS["dsa"]}, probe={"n_trials": 8})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the verbs are given, made in ordinary state."""
    folder = tmp_path_factory.mktemp("ambient")
    trained = ensemble()
    dg.run_study(study(), out=folder / "run", jobs=1, progress=False)
    arrays = trained.rollout(np.random.default_rng(0).normal(size=(6, 12, 2)))
    return {
        "ensemble": trained,
        "saved": trained.save(folder / "saved"),
        "states": arrays[0],
        "run": folder / "run",
        "modules": modules(),
        "files": [state_file(folder / f"{k}.pt", *pair) for k, pair in enumerate(modules())],
        "result": dg.measure(trained, TASK, measures=("dsa",), options={"dsa": OPTIONS["dsa"]}, probe=PROBE),
    }


def measured(made: dict[str, Any], **_: Any) -> Any:
    options = {name: OPTIONS[name] for name in MEASURES if name in OPTIONS}
    return dg.measure(made["ensemble"], TASK, measures=MEASURES, options=options, probe=PROBE)


def from_arrays(made: dict[str, Any], **_: Any) -> Any:
    weights = made["ensemble"].weights()
    return dg.measure_arrays(
        states=made["states"],
        weights=weights["W_rec"],
        bias=np.stack([weights["bias"], weights["bias_rec"]], 1).reshape(3, 2, 3, 6).transpose(0, 2, 1, 3),
        cell="gru",
        measures=("dsa", "fixed_points", "procrustes", "pif"),
        options={name: OPTIONS[name] for name in ("dsa", "fixed_points", "pif")},
    )


def closures(made: dict[str, Any], **_: Any) -> Any:
    recording = record(made["ensemble"], TASK, PROBE)
    return recording.states, recording.behavior["lesion"].errors, recording.weights[0]["bias"]


def studied(out: Path, **_: Any) -> Any:
    run = dg.run_study(study(), out=out / "run", jobs=1, progress=False)
    again = dg.load_run(out / "run")
    panel = dg.dsa_sensitivity(out / "run", ranks=[3], n_delays=[2], jobs=1, progress=False)
    moments = dg.during_training(out / "run", ["dsa"], jobs=1, progress=False)
    return run.table, again.table, panel, moments


def tuned(out: Path, **_: Any) -> Any:
    plain = study()
    plan = plain.replace(training=plain.training | {"checkpoints": []})
    ways = {
        "knob": "network.init_gain",
        "low": 0.5,
        "high": 2.0,
        "max_evaluations": 2,
        "tolerance": 1.0,
        "out": out / "tuned",
    }
    return dg.tune(plan, measure="dsa", target=0.1, jobs=1, progress=False, **ways).evaluations


VERBS: dict[str, Callable[..., Any]] = {
    "train, compiled": lambda **_: ensemble("tanh"),
    "train, autograd": lambda **_: ensemble("lstm", regularisers={"l2_activity": 0.1, "nuclear": 1e-3}),
    "train, coupled": lambda **_: ensemble("leaky_tanh", coupling={"strength": 0.1, "distance": "procrustes"}),
    "sweep": lambda **_: dg.train_strengths(
        TASK,
        dg.Network(hidden_size=6),
        TRAINING,
        strengths={"l1": [0.0, 1e-3]},
        seeds=[0],
        jobs=1,
        progress=False,
    ),
    "measure": measured,
    "measure_arrays": from_arrays,
    "record": closures,
    "rollout": lambda made, **_: made["ensemble"].rollout(np.ones((3, 5, 2))),
    "params": lambda made, **_: made["ensemble"].params(),
    "load": lambda made, **_: dg.Ensemble.load(made["saved"]),
    "from_modules": lambda made, **_: dg.Ensemble.from_modules(made["modules"]),
    "from_modules, made there": lambda **_: dg.Ensemble.from_modules(modules()),
    "from_parameters": lambda made, **_: dg.Ensemble.from_parameters("gru", made["ensemble"].weights()),
    "from_state_dicts": lambda made, **_: dg.Ensemble.from_state_dicts("lstm", made["files"]),
    "compare": lambda made, **_: dg.compare(made["result"], made["result"]),
    "checks": lambda **_: [
        check_task(dg.tasks.FlipFlop(channels=2, n_steps=12)),
        check_measure(dg.MEASURES["procrustes"]()),
        *(check_cell(cell()) for cell in CELLS.values()),
    ],
    "state_changes": lambda **_: state_changes(
        TASK, dg.Network(hidden_size=6), TRAINING, widths=(4, 6), seeds=(0,), n_updates=2
    ),
    "run_study": studied,
    "tune": tuned,
}


@pytest.fixture(scope="module")
def expected(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each verb gives in ordinary state."""
    return {name: numbers(verb(made=made, out=tmp_path_factory.mktemp("expected"))) for name, verb in VERBS.items()}


def set_now() -> tuple[Any, ...]:
    """The ambient state, as far as it can be asked for."""
    return (
        torch.is_autocast_enabled("cpu"),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.get_default_device(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_anomaly_enabled(),
        torch.backends.cuda.matmul.fp32_precision,
        float(torch.full((1,), 1e-38, dtype=torch.float32, device="cpu") * 1e-2),
        tuple(np.geterr().values()),
    )


@pytest.mark.parametrize("state", [*STATES, "together"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_gives_the_same_bits_in_any_state(
    verb: str, state: str, made: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    with together() if state == "together" else STATES[state]():
        before = set_now()
        found = VERBS[verb](made=made, out=tmp_path)
        assert set_now() == before, "it is left as it was"
    assert numbers(found) == expected[verb]


def test_the_ordinary_state_is_that_of_a_fresh_process() -> None:
    fresh = set_now()
    with together():
        assert set_now()[:-3] != fresh[:-3]
        with ordinary_state():
            inside = set_now()
            assert inside[:7] == fresh[:7]
            assert inside[7] in ("none", "ieee")
            assert inside[8:] == fresh[8:]


def test_warnings_in_place_of_errors_stay_what_they_were() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with ordinary_state():
            assert not torch.are_deterministic_algorithms_enabled()
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_an_error_leaves_the_state_as_it_was() -> None:
    with together():
        before = set_now()
        with pytest.raises(dg.UserError), np.errstate(all="raise"):
            ensemble(seeds=())
        assert set_now() == before


READS_FILES_ALONE = {"load_arrays", "load_study"}


def test_every_public_function_runs_in_ordinary_state() -> None:
    functions = {name: getattr(dg, name) for name in dg.__all__ if inspect.isfunction(getattr(dg, name))}
    assert {name for name, verb in functions.items() if not hasattr(verb, "__wrapped__")} == READS_FILES_ALONE


def test_other_processes_give_the_same_bits_and_the_caller_gets_plain_numbers(
    made: dict[str, Any], expected: dict[str, Any]
) -> None:
    with together():
        trained = dg.train(TASK, dg.Network(hidden_size=6), TRAINING, seeds=(0, 1, 2), jobs=2, progress=False)
        given = {name: OPTIONS[name] for name in MEASURES if name in OPTIONS}
        found = dg.measure(made["ensemble"], TASK, measures=MEASURES, options=given, probe=PROBE, jobs=2)
    assert numbers(trained) == expected["train, compiled"]
    assert numbers(found) == expected["measure"]


def test_a_report_is_written_in_any_state(made: dict[str, Any], tmp_path: Path) -> None:
    with together():
        assert dg.report(made["result"], tmp_path / "report.html").stat().st_size > 0
