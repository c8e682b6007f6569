"""Measuring: which measures, with which options, on which members; what cannot be measured is said, not guessed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import degeneracy as dg
from degeneracy.analysis import MEASURES, Measured
from degeneracy.checks.measures import as_decisions
from degeneracy.core.errors import UserError
from degeneracy.measuring.measure import (
    _needed,
    build_measures,
    example_trials,
    lacking,
    measure_recording,
    split_outcome,
)
from degeneracy.measuring.probe import Probe
from degeneracy.measuring.record import record
from degeneracy.training import one_thread

TASK = dg.tasks.FlipFlop(channels=1, n_steps=10, threshold=9.0)
PROBE = Probe(n_trials=6)
# The flip-flop has no closed loop, and its outputs are no decisions.
OF_OTHER_TASKS = [name for name, kind in MEASURES.items() if {"prediction_times", "decisions"} & set(kind.needs)]
ON_FLIP_FLOP = [name for name in MEASURES if name not in OF_OTHER_TASKS]
OPTIONS: dict[str, dict[str, Any]] = {
    "dsa": {"rank": 3, "n_delays": 3, "n_starts": 4},
    "pif": {"n_restarts": 2},
    "signed_pif": {"n_restarts": 2},
    "fixed_points": {"n_starts": 16},
}


def trained(seeds=(0, 1, 2), threshold: float = 9.0, **fields) -> dg.Ensemble:
    """Networks that converge at once, the threshold being above chance."""
    training = dg.Training(batch_size=4, steps_per_epoch=4, max_epochs=1, patience=0, learning_rate=0.02)
    network = dg.Network(hidden_size=6, **fields)
    return dg.train(TASK.replace(threshold=threshold), network, training, seeds=seeds, jobs=1, progress=False)


@pytest.fixture(scope="module")
def ensemble() -> dg.Ensemble:
    return trained()


def same(a: Measured, b: Measured) -> None:
    for mine, theirs in zip(a.findings, b.findings, strict=True):
        assert (mine.variant, mine.note, mine.scale) == (theirs.variant, theirs.note, theirs.scale)
        for name in ("value", "floor", "reference"):
            x, y = getattr(mine, name), getattr(theirs, name)
            assert (x is None) == (y is None)
            if x is not None:
                assert np.array_equal([x.value, *x.leave_one_out], [y.value, *y.leave_one_out], equal_nan=True)
    for kind in ("distances", "arrays", "diagnostics"):
        x, y = getattr(a, kind), getattr(b, kind)
        assert x.keys() == y.keys()
        for name in x:
            assert np.array_equal(x[name], y[name], equal_nan=True), (kind, name)


@pytest.mark.parametrize("sigma", [0.0, 0.05], ids=["clean", "noisy"])
def test_a_measure_finds_the_same_with_all_that_was_recorded_and_with_what_it_needs(sigma: float) -> None:
    """Little travels to the processes: nothing that a measure looks at may be left behind."""
    recording = record(trained(sigma_rec=sigma), TASK, PROBE)
    measures = build_measures(options=OPTIONS)
    found, missing = split_outcome(dict(measure_recording(recording, measures)))
    assert list(missing) == OF_OTHER_TASKS
    assert missing["valid_prediction_time"] == "needs prediction times: the task has no closed loop"
    assert set(found) == set(MEASURES) - set(missing)
    for name, measure in measures.items():
        if name in found:
            with one_thread():  # as in a process; BLAS rounds by its number of threads
                same(found[name], measure(recording))


def test_results_do_not_depend_on_the_number_of_processes(ensemble: dg.Ensemble) -> None:
    one = dg.measure(ensemble, TASK, options=OPTIONS, probe=PROBE, jobs=1)
    two = dg.measure(ensemble, TASK, options=OPTIONS, probe=PROBE, jobs=2)
    assert list(one.measured) == list(two.measured) == ON_FLIP_FLOP, "in the order asked for"
    for name in one.measured:
        same(one.measured[name], two.measured[name])
    assert one.table.equals(two.table)


def test_options_reach_the_measure(ensemble: dg.Ensemble) -> None:
    angle = dg.measure(ensemble, TASK, measures=["procrustes"], probe=PROBE)
    linear = dg.measure(ensemble, TASK, measures=["procrustes"], options={"procrustes": {"alpha": 0.0}}, probe=PROBE)
    assert not np.allclose(angle.distances["procrustes"], linear.distances["procrustes"])
    assert linear.spec["measures"] == {"procrustes": {"estimator": "cross_validated", "alpha": 0.0}}
    assert linear.spec["probe"]["n_trials"] == 6


@pytest.mark.parametrize(
    ("measures", "options", "message"),
    [
        (["procrusts"], {}, "unknown measure 'procrusts'; did you mean 'procrustes'?"),
        (
            ["procrustes"],
            {"procrustes": {"alfa": 1}},
            "Procrustes: unknown key 'alfa'; did you mean 'alpha'?",
        ),
        (["procrustes"], {"procrustes": {"alpha": 2}}, "Procrustes: alpha = 2 is wrong"),
        (
            ["procrustes"],
            {"dsa": {"rank": 2}},
            "options: 'dsa' is not among the measures to take (procrustes)",
        ),
        (
            ["procrustes"],
            {"procrustes": 2},
            "options: procrustes = 2 is wrong: a table of its fields is needed",
        ),
        (
            ["dsa"],
            {"dsa": {"n_delays": 10}},
            "dsa: n_delays = 10 is wrong: fewer than the 10 steps of a trial are needed",
        ),
        ([], {}, "no measure was asked for"),
        (3, {}, "measures = 3 is wrong: a list of names is needed"),
        (None, {}, "measures = None is wrong: a list of names is needed"),
        (["pif"], ["rank"], "options = ['rank'] is wrong: a table of fields by measure is needed"),
        (["pif", "pif"], {}, "measure 'pif' is asked for twice"),
        ([3], {}, "a subclass of Measure, a function of a recording or an object with fit_score is needed"),
    ],
)
def test_mistakes_are_said_before_anything_is_measured(measures, options, message: str, ensemble, monkeypatch) -> None:
    monkeypatch.setattr("degeneracy.measuring.measure.record", lambda *_: pytest.fail("recorded before checking"))
    with pytest.raises(UserError) as caught:
        dg.measure(ensemble, TASK, measures=measures, options=options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_members_that_did_not_converge_are_counted_and_left_out(ensemble: dg.Ensemble) -> None:
    from dataclasses import replace

    last = replace(ensemble.members[1], status="not converged")
    mixed = replace(ensemble, members=(ensemble.members[0], last, ensemble.members[2]))
    result = dg.measure(mixed, TASK, measures=["procrustes"], probe=PROBE)
    assert result.distances["procrustes"].shape == (2, 2)
    assert result.measured_members == ("0", "2")
    assert (result.n_members, result.n_converged) == (3, 2)
    row = result.table.iloc[0]
    assert (row.n_members, row.n_converged) == (3, 2)
    assert [member.status for member in result.members] == ["converged", "not converged", "converged"]
    whole = dg.measure(ensemble, TASK, measures=["procrustes"], probe=PROBE)
    assert result.distances["procrustes"][0, 1] == pytest.approx(whole.distances["procrustes"][0, 2], abs=1e-6)


@pytest.mark.parametrize("n_converged", [0, 1])
def test_too_few_converged_members_make_rows_with_the_reason(n_converged: int, ensemble: dg.Ensemble) -> None:
    from dataclasses import replace

    members = tuple(
        replace(m, status="converged" if k < n_converged else "diverged") for k, m in enumerate(ensemble.members)
    )
    result = dg.measure(replace(ensemble, members=members), TASK)
    assert set(result.table.measure) == set(ON_FLIP_FLOP)
    assert set(result.table.note) == {f"needs 2 converged members, {n_converged} of 3 converged"}
    assert result.table["value"].isna().all()
    assert result.measured == {}
    assert len(result.distances) == 0
    assert result.examples is None


def test_one_network_is_no_ensemble(ensemble: dg.Ensemble) -> None:
    with pytest.raises(UserError, match="needs 2 members or more, the ensemble has 1"):
        dg.measure(trained(seeds=[0]), TASK)


def test_spreads_of_errors_are_sent_no_outputs() -> None:
    """Outputs of many trials are large, and one measure alone looks at them."""
    recording = record(trained(), TASK, PROBE)
    for name, reads in (("ood_log_error_sd", False), ("output_distance", True)):
        measure = dg.MEASURES[name]()
        sent = _needed(measure, recording)
        assert all((one.outputs is not None) == reads for one in list(sent.behavior.values())[:3])
        assert (sent.untrained is not None) == reads
        same(measure(sent), measure(recording))


@pytest.mark.parametrize("jobs", [1, 2])
def test_measures_of_weights_see_which_units_move(jobs: int) -> None:
    """One unit of one network is saturated at every step; only the states say so."""
    ensemble = trained()
    member = ensemble.members[1]
    bias = member.final["bias"].clone()
    bias[0] = 30.0
    members = list(ensemble.members)
    members[1] = replace(member, final={**member.final, "bias": bias})
    names = ["signed_pif", "pif", "orthogonal"]
    result = dg.measure(replace(ensemble, members=tuple(members)), TASK, measures=names, probe=PROBE, jobs=jobs)
    for name in names:
        notes = [finding.note for finding in result.measured[name].findings]
        assert all(f"dead unit left out: 1 of member {member.seed}" in note for note in notes), name


def test_what_is_needed_and_missing_is_listed_with_its_reason() -> None:
    given = dg.Ensemble.from_modules([(nn.RNN(1, 6), nn.Linear(6, 1)) for _ in range(3)])
    result = dg.measure(given, TASK, options=OPTIONS, probe=PROBE)
    reason = "the members before training were not given"
    assert result.missing == {
        "weight_change": f"needs initial weights: {reason}",
        "representation_alignment": f"needs untrained: {reason}",
        "kernel_alignment": f"needs untrained: {reason}",
    }
    row = result.table[result.table.measure == "weight_change"]
    assert row.note.tolist() == [result.missing["weight_change"]]
    assert row["value"].isna().all()
    dsa = result.table[result.table.measure == "dsa"].iloc[0]
    assert np.isnan(dsa.reference)
    assert "no reference" in dsa.note


def test_every_need_of_every_measure_is_asked_for(ensemble: dg.Ensemble) -> None:
    from dataclasses import replace

    recording = record(ensemble, TASK, PROBE)
    # As tasks with a closed loop and with decisions have them.
    decided = as_decisions(recording.behavior)
    recording = replace(recording, prediction_times=np.ones((3, 6)), behavior=decided)
    of_no_known_cell = [replace(one, symmetry="") for one in recording.weights or ()]
    of_inputs = [one.replace(recurrent=None) for one in recording.weights or ()]
    without: dict[str, Any] = {"behavior": {"behavior": {}}, "symmetry": {"weights": of_no_known_cell}}
    without["recurrent_weights"] = {"weights": of_inputs}
    assert recording.step is not None
    without["readout"] = {"step": replace(recording.step, read_out=None)}
    without["decisions"] = {"behavior": {name: replace(one, wrong=None) for name, one in decided.items()}}
    for name, measure in build_measures(options=OPTIONS).items():
        assert lacking(measure, recording) == ""
        for need in measure.needs:
            poorer = replace(recording, **without.get(need, {need: None}), missing={need: "for a reason"})
            words = need.replace("_", " ")
            assert lacking(measure, poorer) == f"needs {words}: for a reason"
            found = dict(measure_recording(poorer, {name: measure}))
            assert found == {name: f"needs {words}: for a reason"}


def test_a_task_not_trained_on_may_be_measured_on(ensemble: dg.Ensemble) -> None:
    longer = TASK.replace(n_steps=16, switch_probability=0.5)
    result = dg.measure(
        ensemble, longer, measures=["output_distance"], probe=PROBE, condition="longer", factors={"p": 1}
    )
    assert result.spec["task"]["n_steps"] == 16
    assert result.condition == "longer"
    assert result.table.p.tolist() == [1] * len(result.table)


def test_examples_are_the_first_probe_trials(ensemble: dg.Ensemble) -> None:
    examples = example_trials(ensemble, TASK, Probe(n_trials=6, seed=2))
    trials = TASK.sample(dg.Streams([2], "probe"), 6)
    assert np.array_equal(examples.inputs, trials.inputs[0].numpy())
    assert np.array_equal(examples.targets, trials.targets[0].numpy())
    assert examples.states.shape == (3, 6, 10, 6)
    assert np.array_equal(examples.outputs, ensemble.rollout(trials.inputs[0])[1])
    assert examples.members == ("0", "1", "2")


def test_a_network_that_grows_without_bound_costs_one_row_and_not_the_measurement() -> None:
    class Growing(dg.tasks.FlipFlop):
        def variants(self):
            return {**super().variants(), "long": dg.Variant(description="", sample=self._long)}

        def _long(self, streams, n_trials):
            return self.replace(n_steps=300).sample(streams, n_trials)

    modules = []
    for k in range(4):
        core, readout = torch.nn.RNN(1, 4, nonlinearity="relu"), torch.nn.Linear(4, 1)
        with torch.no_grad():
            # One unit doubles at each step: 2^10 after a trial, past float32 (2^128) after 300 steps.
            core.weight_hh_l0.copy_((2.0 if k == 0 else 0.5) * torch.eye(4))
            core.bias_ih_l0.fill_(0.1)
        modules.append((core, readout))
    ensemble = dg.Ensemble.from_modules(modules)
    measures = ["ood_log_error_sd", "ood_error_mean", "output_distance"]
    result = dg.measure(ensemble, Growing(channels=1, n_steps=10), measures=measures)
    table = result.table.set_index(["measure", "variant"])
    for name in measures:
        assert np.isnan(table.loc[(name, "long"), "value"])
        assert "member 0" in table.loc[(name, "long"), "note"]
        assert np.isfinite(table.loc[(name, "length_2x"), "value"])


def test_untrained_networks_that_grow_without_bound_are_no_reference() -> None:
    task, network = dg.tasks.FlipFlop(channels=1, n_steps=60), dg.Network(hidden_size=8, cell="relu")
    ensemble = dg.train(
        task,
        network,
        dg.Training(max_epochs=1, patience=0, steps_per_epoch=1),
        seeds=range(3),
        jobs=1,
        progress=False,
    )
    members = tuple(
        replace(m, status="given", initial=m.initial | {"W_rec": 100 * m.initial["W_rec"].abs()})
        for m in ensemble.members
    )
    result = dg.measure(
        replace(ensemble, members=members), task, measures=["procrustes", "dsa"], options={"dsa": {"rank": 3}}
    )
    assert result.table["value"].notna().all()
    assert result.table["reference"].isna().all()


def test_nothing_that_was_recorded_is_changed(ensemble: dg.Ensemble) -> None:
    recording = record(ensemble, TASK, PROBE)
    assert recording.states is not None
    assert recording.weights is not None
    before = [x.copy() for x in recording.states], [w.recurrent.copy() for w in recording.weights]
    dict(measure_recording(recording, build_measures(options=OPTIONS)))
    assert all(np.array_equal(a, b) for a, b in zip(before[0], recording.states, strict=True))
    assert all(np.array_equal(a, b.recurrent) for a, b in zip(before[1], recording.weights, strict=True))


def test_objects_of_another_kind_and_taken_names_are_said() -> None:
    task = dg.tasks.FlipFlop(channels=1, n_steps=4)
    with pytest.raises(UserError, match=r"takes an Ensemble and a Task, got \(list, FlipFlop\)"):
        dg.measure([], task)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"takes a Task such as .*, got str"):
        dg.train("flip_flop", dg.Network(), dg.Training(), seeds=[0, 1])  # type: ignore[arg-type]
    ensemble = dg.Ensemble(network=dg.Network(), members=())
    with pytest.raises(UserError, match="'level' is a column of the table already"):
        dg.measure(ensemble, task, factors={"level": 1})


def refusing(recording: Any) -> Any:
    """A measure for which these networks are impossible."""
    raise UserError("refusing: these states\nhave no such number")


def test_what_was_refused_is_a_note_in_the_table(ensemble: dg.Ensemble) -> None:
    table = dg.measure(ensemble, TASK, measures=[refusing, "procrustes"], probe=PROBE).table
    [row] = table[table["measure"] == "refusing"].to_dict("records")
    assert np.isnan(row["value"])
    assert row["note"] == "refusing: these states have no such number"
    assert np.isfinite(table[table["measure"] == "procrustes"]["value"]).all()
