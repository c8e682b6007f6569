"""Recording: common, noise-free probe trials, and network probes that do what they say."""

import numpy as np
import pytest
import torch
from torch import nn

import degeneracy as dg
from degeneracy.analysis.recording import Recording
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.measuring import behaving
from degeneracy.measuring.probe import Probe, probe_descriptions
from degeneracy.measuring.record import record
from degeneracy.measuring.tangents import tangent_kernel
from degeneracy.networks import forward
from degeneracy.networks.cells import CELLS

TASK = dg.tasks.FlipFlop(channels=2, n_steps=10)
PROBE = Probe(n_trials=6)
N = 8


def trained(cell: str = "tanh", seeds=(0, 1, 2), **fields) -> dg.Ensemble:
    training = dg.Training(batch_size=4, steps_per_epoch=4, max_epochs=2, patience=1, learning_rate=0.02)
    network = dg.Network(hidden_size=N, cell=cell, **fields)
    return dg.train(TASK, network, training, seeds=seeds, jobs=1, progress=False)


@pytest.fixture(scope="module")
def ensemble() -> dg.Ensemble:
    return trained()


@pytest.fixture(scope="module")
def recording(ensemble: dg.Ensemble) -> Recording:
    return record(ensemble, TASK, PROBE)


def probe_trials() -> dg.Trials:
    return TASK.sample(Streams([PROBE.seed], "probe"), PROBE.n_trials)


def test_all_members_get_the_same_trials_without_noise(ensemble: dg.Ensemble, recording: Recording) -> None:
    trials = probe_trials()
    states, outputs = ensemble.rollout(trials.inputs[0])
    assert len(recording.states) == 3
    for k in range(3):
        assert recording.states[k].shape == (6, 10, N)
        assert recording.states[k].dtype == np.float64
        assert recording.states[k].swapaxes(0, 1).flags.c_contiguous  # sums of measures are rounded in that order
        assert np.array_equal(recording.states[k], states[k].astype(np.float64))
        assert np.array_equal(recording.behavior["in_distribution"].outputs[k], outputs[k].astype(np.float64))
    assert recording.members == ("0", "1", "2")


@pytest.mark.parametrize("cell", ["tanh", "gru"])
def test_a_few_members_run_at_a_time_are_as_all_at_once(cell: str, monkeypatch) -> None:
    several = trained(cell, seeds=range(5))
    probe = Probe(n_trials=8, n_behavior_trials=70, n_dynamics_trials=24)
    limit, sizes, plain = [0], [], dg.CELLS[cell].drive

    def drive(self, params, inputs):
        made = plain(self, params, inputs)
        sizes.append((made[..., :N].numel(), made.shape[1]))
        return made

    monkeypatch.setattr(dg.CELLS[cell], "drive", drive)
    recorded = []
    for limit[0] in (1, 64 * 20 * N * 2, 10**9):  # one at a time; two or more; all
        monkeypatch.setattr(behaving, "STATES", limit[0])
        sizes.clear()
        recorded.append(record(several, TASK, probe))
        assert all(size <= limit[0] or n_members == 1 for size, n_members in sizes)
    assert max(n_members for _, n_members in sizes) == 5
    *others, all_at_once = recorded
    for other in others:
        # float32: batched kernels may round by the number of members.
        np.testing.assert_allclose(other.states, all_at_once.states, atol=1e-5)
        np.testing.assert_allclose(other.autonomous_states, all_at_once.autonomous_states, atol=1e-5)
        for name, variant in all_at_once.behavior.items():
            np.testing.assert_allclose(other.behavior[name].errors, variant.errors, rtol=1e-3, err_msg=name)
            if variant.outputs is not None:
                np.testing.assert_allclose(other.behavior[name].outputs, variant.outputs, atol=1e-5, err_msg=name)
        for half, of_all in zip(other.lag_grams, all_at_once.lag_grams, strict=True):
            for sums, expected in zip(half, of_all, strict=True):
                # Sums over 12 trials of 10 steps of products under 1, in units of the largest state.
                np.testing.assert_allclose(sums.gram(1), expected.gram(1), atol=1e-2)


def test_a_members_recording_does_not_depend_on_its_companions(recording: Recording) -> None:
    alone = record(trained(seeds=[1]), TASK, PROBE)
    # float32: batched kernels may round by the number of members.
    np.testing.assert_allclose(alone.states[0], recording.states[1], atol=1e-5)
    np.testing.assert_allclose(alone.untrained.states[0], recording.untrained.states[1], atol=1e-5)
    for name, variant in recording.behavior.items():
        np.testing.assert_allclose(alone.behavior[name].errors[0], variant.errors[1], rtol=1e-3, err_msg=name)


def test_the_seed_and_number_of_the_probe_are_its_own(ensemble: dg.Ensemble, recording: Recording) -> None:
    other = record(ensemble, TASK, Probe(n_trials=6, seed=1))
    assert not np.array_equal(other.states[0], recording.states[0])
    assert len(record(ensemble, TASK, Probe(n_trials=9)).states[0]) == 9
    again = record(ensemble, TASK, PROBE)
    assert np.array_equal(again.states[2], recording.states[2])
    assert np.array_equal(again.behavior["lesion"].errors, recording.behavior["lesion"].errors)


@pytest.mark.parametrize("network", [{}, {"sigma_rec": 0.1}])
def test_behavior_may_have_trials_of_its_own(network: dict, monkeypatch) -> None:
    ensemble = trained(**network)
    few, many = (
        record(ensemble, TASK, PROBE),
        record(ensemble, TASK, Probe(n_trials=6, n_behavior_trials=150)),
    )
    assert np.array_equal(many.states, few.states), "states stay on their own trials"
    for name, variant in many.behavior.items():
        assert variant.errors.shape == (3, 150), name
        assert variant.mask.shape[0] == 150, name
    for name, variant in TASK.variants().items():
        trials = variant.sample(Streams([0], "probe"), 150)
        _, outputs = ensemble.rollout(trials.inputs[0])
        # float32: kernels round by the number of trials at a time.
        np.testing.assert_allclose(many.behavior[name].outputs, outputs, atol=1e-5)
        squared = ((outputs - trials.targets[0].numpy()) ** 2).mean(-1) * trials.scored[0].numpy()
        by_hand = squared.sum(-1) / trials.scored[0].numpy().sum(-1)
        np.testing.assert_allclose(many.behavior[name].errors, by_hand, rtol=1e-3)
    if network:
        assert all(draw["length_2x"].shape[1] == 150 for draw in many.noisy_outputs)
        drawn = many.noisy_outputs[0]["in_distribution"] - many.behavior["in_distribution"].outputs
        blocks = drawn[:, :64], drawn[:, 64:128]
        assert not any(np.allclose(*(block[k] for block in blocks)) for k in range(3)), "drawn anew in each block"
        findings = dg.MEASURES["output_distance"]()(many).findings
        assert all(one.floor.value > 0 for one in findings), "their noise, on these trials"
    # Block by block or all at once: pushes and lesions of a trial are the same.
    monkeypatch.setattr(behaving, "BLOCK", 1000)
    whole = record(ensemble, TASK, Probe(n_trials=6, n_behavior_trials=150))
    for name, variant in whole.behavior.items():
        np.testing.assert_allclose(many.behavior[name].errors, variant.errors, rtol=1e-3, err_msg=name)


def test_of_many_behavior_trials_the_first_keep_their_outputs(ensemble: dg.Ensemble, monkeypatch) -> None:
    """Errors are of all trials; outputs, masks and decisions of 256 at most; untrained networks run no others."""
    for name in ("output_distance", "decision_disagreement"):
        assert f"{behaving.OUTPUT_TRIALS} at most" in dg.MEASURES[name].meaning
        assert f"{behaving.OUTPUT_TRIALS} at most" in dg.MEASURES[name].methods
    task, probe = dg.tasks.FlipFlop(channels=2, n_steps=12), Probe(n_trials=6, n_behavior_trials=300)
    first = record(ensemble, task, probe)
    monkeypatch.setattr(behaving, "OUTPUT_TRIALS", 1000)
    whole = record(ensemble, task, probe)
    for name, variant in first.behavior.items():
        assert np.array_equal(variant.errors, whole.behavior[name].errors), name
        assert variant.errors.shape[1] == 300, name
        for part in ("outputs", "mask", "decisions"):
            few, all_ = getattr(variant, part), getattr(whole.behavior[name], part)
            assert (few is None) == (all_ is None), name
            if few is not None:
                trials = 0 if part == "mask" else 1
                assert (few.shape[trials], all_.shape[trials]) == (256, 300), (name, part)
                assert np.array_equal(few, all_.take(range(256), axis=trials)), (name, part)
    assert first.behavior["state_kick"].outputs is None
    assert set(first.untrained.behavior) == {"in_distribution", *task.variants()}, "no kicks and lesions"
    assert {variant.errors.shape[1] for variant in first.untrained.behavior.values()} == {256}


def test_a_probe_needs_two_halves_of_two_trials() -> None:
    with pytest.raises(UserError, match="n_behavior_trials"):
        Probe(n_behavior_trials=3)


def test_what_a_measure_sees_of_the_probe() -> None:
    """Measures of states and weights are not taken again where behavior gets other trials."""
    plain, more = Probe(), Probe(n_behavior_trials=100)
    assert plain.seen_by(("states",)) == more.seen_by(("states",))
    assert plain.seen_by(("behavior",)) != more.seen_by(("behavior",))
    assert plain.seen_by(()) != more.seen_by(()), "whose needs are not known may see all"
    assert "n_behavior_trials" not in plain.seen_by(("behavior",))


def test_errors_are_those_of_the_tasks_variants(ensemble: dg.Ensemble, recording: Recording) -> None:
    assert list(recording.behavior) == ["in_distribution", *TASK.variants(), "state_kick", "lesion"]
    assert set(probe_descriptions(TASK, PROBE)) == set(recording.behavior)
    for name, sample in [("in_distribution", TASK.sample)] + [(n, v.sample) for n, v in TASK.variants().items()]:
        trials = sample(Streams([0], "probe"), 6)
        _, outputs = ensemble.rollout(trials.inputs[0])
        squared = ((outputs - trials.targets[0].numpy()) ** 2).mean(-1)  # (member, trial, time)
        scored = trials.scored[0].numpy()
        by_hand = np.array([[squared[m, t][scored[t]].mean() for t in range(6)] for m in range(3)])
        np.testing.assert_allclose(recording.behavior[name].errors, by_hand, rtol=1e-5)
        assert np.array_equal(recording.behavior[name].mask, scored)


def test_before_training_is_the_initial_network(ensemble: dg.Ensemble, recording: Recording) -> None:
    first = ensemble.weights(initial=True)["W_rec"]
    for k in range(3):
        assert np.array_equal(recording.initial_weights[k].recurrent[0], first[k])
        assert np.array_equal(recording.untrained.weights[k].recurrent[0], first[k])
        assert np.array_equal(recording.weights[k].recurrent[0], ensemble.weights()["W_rec"][k])
    inputs = probe_trials().inputs.expand(3, -1, -1, -1)
    states, outputs = forward(ensemble.cell, ensemble.params(initial=True), inputs, {})
    np.testing.assert_allclose(np.stack(recording.untrained.states), states.numpy(), atol=1e-6)
    np.testing.assert_allclose(recording.untrained.behavior["in_distribution"].outputs, outputs, atol=1e-6)
    assert recording.untrained.members == recording.members
    assert recording.untrained.untrained is None


def test_tangent_kernels_are_of_the_probe_trials_before_and_after(ensemble: dg.Ensemble, recording: Recording) -> None:
    inputs = probe_trials().inputs[0]
    for initial, found in ((False, recording), (True, recording.untrained)):
        params = ensemble.params(initial=initial)
        expected = tangent_kernel(ensemble.cell, params, inputs).kernel([0, 5], [3, 9])
        assert np.array_equal(found.tangent_kernel.kernel([0, 5], [3, 9]), expected)
        assert (found.tangent_kernel.n_trials, found.tangent_kernel.n_steps) == (6, 10)


@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_autonomous_runs_start_in_mid_trial_and_have_no_input(cell: str) -> None:
    ensemble = trained(cell)
    inputs = probe_trials().inputs.expand(3, -1, -1, -1)
    states, _ = forward(ensemble.cell, ensemble.params(), inputs, {})
    found = record(ensemble, TASK, PROBE).autonomous_states
    # Step after step by hand from the full state after step T/2, inputs 0.
    state, params = states[:, :, 5], ensemble.params()
    for step in range(10):
        drive = params["bias"].unsqueeze(1).expand(-1, 6, -1)
        state = ensemble.cell.step(params, state, drive)
        expected = ensemble.cell.hidden(state).detach().numpy()
        np.testing.assert_allclose(np.stack(found)[:, :, step], expected, atol=1e-5)
    assert found[0].shape == (6, 10, N)


@pytest.mark.parametrize("cell", CELLS)
def test_a_kick_of_no_size_changes_nothing(cell: str) -> None:
    ensemble = trained(cell)
    whole = record(ensemble, TASK, Probe(n_trials=6, kick=1e-12)).behavior
    kicked = whole["state_kick"]
    trials = probe_trials()
    after = trials.scored[0].numpy() & (np.arange(10) > 5)
    assert np.array_equal(kicked.mask, after), "scored from the step after the kick on"
    squared = ((whole["in_distribution"].outputs - trials.targets[0].numpy()) ** 2).mean(-1)
    np.testing.assert_allclose(kicked.errors, (squared * after).sum(-1) / after.sum(-1), rtol=1e-4)


def test_trials_of_two_steps_can_be_kicked() -> None:
    task = dg.tasks.FlipFlop(channels=1, n_steps=2, threshold=9.0)
    training = dg.Training(batch_size=2, steps_per_epoch=1, max_epochs=1, patience=0)
    short = dg.train(task, dg.Network(hidden_size=4), training, seeds=(0, 1), jobs=1, progress=False)
    kicked = record(short, task, Probe(n_trials=4)).behavior["state_kick"]
    assert np.isfinite(kicked.errors).all()
    assert kicked.mask is not None
    assert kicked.mask.tolist() == [[False, True]] * 4


def test_a_kick_has_its_size(ensemble: dg.Ensemble, recording: Recording, monkeypatch) -> None:
    """By the one step after it: the state that it starts from is found from what `forward` is given."""
    starts = []

    def watched(cell, params, inputs, noise, start=None):
        starts.append((start, inputs))
        return forward(cell, params, inputs, noise, start=start)

    monkeypatch.setattr(behaving, "forward", watched)
    record(ensemble, TASK, Probe(n_trials=6, kick=0.5))
    kicked = [start for start, inputs in starts if start is not None and inputs.shape[2] == 4]  # steps 6 to 9
    states = torch.from_numpy(np.stack(recording.states))
    moved = kicked[-1].double() - states[:, :, 5]
    sizes = moved.norm(dim=-1)
    rms = states.square().sum(-1).mean((1, 2)).sqrt()
    torch.testing.assert_close(sizes, 0.5 * rms.unsqueeze(1).expand(-1, 6), rtol=1e-5, atol=0)
    directions = moved / sizes.unsqueeze(-1)
    torch.testing.assert_close(directions[0], directions[2], atol=1e-5, rtol=0)
    overlap = directions[0] @ directions[0].T - torch.eye(6, dtype=torch.float64)
    assert overlap.abs().max() < 0.99, "a direction of its own for each trial"


@pytest.mark.parametrize("cell", CELLS)
def test_a_lesion_silences_a_share_of_the_units(cell: str) -> None:
    """A lesioned trial is one of a network without those units: found by trying all pairs of units."""
    ensemble = trained(cell, seeds=[0, 1])
    found = record(ensemble, TASK, Probe(n_trials=6, lesion=0.25)).behavior["lesion"].errors  # 2 of 8 units
    trials = probe_trials()
    tried, pairs = [], [(i, j) for i in range(N) for j in range(i)]
    for pair in pairs:
        keep = torch.ones(N)
        keep[list(pair)] = 0
        params = ensemble.params()
        outgoing = (*ensemble.cell.between_units, "W_out")
        cut = params | {name: params[name] * keep for name in outgoing}
        _, outputs = forward(ensemble.cell, cut, trials.inputs.expand(2, -1, -1, -1), {})
        tried.append((outputs - trials.targets).square().mean((2, 3)))
    distance = (torch.stack(tried) - torch.from_numpy(found)).abs()  # (pair, member, trial)
    for k in range(6):
        # One pair of units explains both members: errors agree to float32's rounding.
        assert distance[:, :, k].max(1).values.min() < 1e-5
    chosen = {pairs[k] for k in distance.max(1).values.argmin(0).tolist()}
    assert len(chosen) > 1, "others in every trial"


def test_at_least_one_unit_is_silenced(ensemble: dg.Ensemble, recording: Recording) -> None:
    tiny = record(ensemble, TASK, Probe(n_trials=6, lesion=0.001)).behavior["lesion"].errors
    assert (np.abs(tiny - recording.behavior["in_distribution"].errors) > 1e-6).any()


def test_the_share_of_silenced_units_is_rounded(ensemble: dg.Ensemble) -> None:
    # Of 8 units 0.2 are 1.6, so 2 as by 0.25, and 0.3 are 2.4.
    errors = [
        record(ensemble, TASK, Probe(n_trials=6, lesion=share)).behavior["lesion"].errors for share in (0.25, 0.2, 0.3)
    ]
    assert np.array_equal(errors[0], errors[1])
    assert np.array_equal(errors[0], errors[2])


@pytest.mark.parametrize("cell", CELLS)
def test_the_step_function_is_one_step_of_the_network(cell: str) -> None:
    ensemble = trained(cell)
    step = record(ensemble, TASK, PROBE).step
    n_states = CELLS[cell].states * N
    assert step.visited.shape == (3, 60, n_states)
    assert list(step.inputs) == ["none", "mean"]
    assert torch.equal(step.inputs["none"], torch.zeros(2))
    mean = probe_trials().inputs[0].mean((0, 1))
    torch.testing.assert_close(step.inputs["mean"], mean)
    start = Streams(range(3), "start").normal((4, n_states))
    inputs = Streams(range(3), "inputs").normal((4, 1, 2))
    expected, _ = forward(ensemble.cell, ensemble.params(), inputs, {}, start=start)
    torch.testing.assert_close(step.step(start, inputs[:, :, 0]), expected[:, :, 0], rtol=1e-5, atol=1e-6)
    double = step.step(start.double(), inputs[:, :, 0].double())
    assert double.dtype == torch.float64
    hidden = step.hidden(double)
    assert hidden.shape == (3, 4, N)
    torch.testing.assert_close(hidden, ensemble.cell.hidden(double), rtol=0, atol=0)
    some = step.select([2, 0])
    torch.testing.assert_close(some.step(start[[2, 0]].double(), inputs[[2, 0], :, 0].double()), double[[2, 0]])
    assert torch.equal(some.visited, step.visited[[2, 0]])


def test_noisy_networks_are_also_recorded_with_their_noise() -> None:
    ensemble = trained(sigma_rec=0.1, sigma_in=0.1)
    noisy = record(ensemble, TASK, PROBE)
    first, second = noisy.noisy_states
    assert first[0].shape == (6, 10, N)
    assert not np.array_equal(first[0], second[0])
    assert not np.array_equal(first[0], noisy.states[0])
    assert set(noisy.noisy_outputs[0]) == {"in_distribution", *TASK.variants()}
    states, _ = ensemble.rollout(probe_trials().inputs[0])
    assert np.array_equal(noisy.states[0], states[0].astype(np.float64)), "probe trials have no noise"
    assert "noisy_states" not in noisy.missing
    # An sd of the difference that the noise can make: two draws of sd 0.1 pass a tanh.
    assert 0.02 < np.std(first[0] - second[0]) < 1


def test_a_members_own_noise_does_not_depend_on_its_companions() -> None:
    """The noise on probe trials is drawn by the member's seed, not by its place."""
    both, alone = (record(trained(seeds=seeds, sigma_rec=0.1), TASK, PROBE) for seeds in ([0, 3], [3]))
    for draw in (0, 1):
        # float32: batched kernels may round by the number of members.
        np.testing.assert_allclose(both.noisy_states[draw][1], alone.noisy_states[draw][0], atol=1e-5)


def test_what_cannot_be_had_is_listed_with_the_reason(recording: Recording) -> None:
    assert recording.missing == {
        "noisy_states": "the networks have no noise of their own",
        "prediction_times": "the task has no closed loop",
        "decisions": "outputs of the task's loss, mean squared error, are no decisions",
    }
    core, readout = nn.RNN(2, N), nn.Linear(N, 2)
    given = record(dg.Ensemble.from_modules([(core, readout)] * 2), TASK, PROBE)
    assert given.untrained is None
    assert given.initial_weights is None
    reason = "the members before training were not given"
    assert given.missing["untrained"] == given.missing["initial_weights"] == reason


def test_a_task_of_another_size_is_refused(ensemble: dg.Ensemble) -> None:
    with pytest.raises(UserError, match="2 inputs and 2 outputs, the task 'flip_flop' has 3 and 3"):
        record(ensemble, TASK.replace(channels=3), PROBE)


def test_another_task_of_the_same_size_may_be_used(ensemble: dg.Ensemble) -> None:
    other = record(ensemble, TASK.replace(n_steps=14), PROBE)
    assert other.states[0].shape == (6, 14, N)


def test_members_of_one_weight_are_the_measures_weights(ensemble: dg.Ensemble, recording: Recording) -> None:
    weights = ensemble.weights()
    one = recording.weights[1]
    assert np.array_equal(one["input"][0], weights["W_in"][1])
    assert np.array_equal(one["bias"][0, 0], weights["bias"][1])
    assert np.array_equal(one["readout"], weights["W_out"][1])
    assert (one.candidate, one.symmetry) == (0, "signed_permutation")
    gated = record(trained("gru"), TASK, PROBE).weights[0]
    assert gated.recurrent.shape == (3, N, N)
    assert gated["bias"].shape == (3, 2, N)
    assert gated.candidate == 2
