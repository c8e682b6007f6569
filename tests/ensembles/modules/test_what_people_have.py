"""Modules as people have them: what is different from what it is taken for is seen, or done as the module does it."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import degeneracy as dg
from degeneracy.measuring.behaving import Behaving
from degeneracy.measuring.record import record

N_IN, N, N_OUT = 2, 6, 2
TASK, PROBE = dg.tasks.FlipFlop(channels=N_IN, n_steps=12), dg.Probe(n_trials=8, n_dynamics_trials=16)
X = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 9, N_IN))).float()


class Ctrnn(nn.Module):
    """Makes its first state by torch.zeros, which single precision alone takes."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        gen = torch.Generator().manual_seed(seed)
        self.w_rec = nn.Parameter(0.4 * torch.randn(N, N, generator=gen))
        self.w_in = nn.Parameter(torch.randn(N, N_IN, generator=gen))
        self.w_out = nn.Parameter(torch.randn(N_OUT, N, generator=gen))

    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return 0.7 * h + 0.3 * torch.tanh(h @ self.w_rec.T + x @ self.w_in.T)

    def forward(self, x: Tensor) -> Any:
        h, outputs = torch.zeros(len(x), N), []
        for t in range(x.shape[1]):
            h = self.step(h, x[:, t])
            outputs.append(h @ self.w_out.T)
        return torch.stack(outputs, 1)


SIDES: dict[str, Any] = {
    "step": lambda module, h, x: module.step(h, x),
    "readout": lambda module, h: h @ module.w_out.T,
    "state_size": N,
    "input_size": N_IN,
}


def given(*modules: Any, **options: Any) -> dg.Ensemble:
    return dg.Ensemble.from_modules(list(modules), **{**SIDES, **options})


def test_a_forward_that_runs_in_single_precision_alone_is_compared_in_that() -> None:
    about = given(Ctrnn(), Ctrnn(1)).members[0].provenance
    assert 0 <= about["largest_relative_difference"] < 1e-5

    class Tripled(Ctrnn):
        def forward(self, x: Tensor) -> Tensor:
            return 3 * super().forward(x)

    with pytest.raises(dg.UserError, match="member 1: its forward and its step disagree"):
        given(Ctrnn(), Tripled())


def test_a_forward_that_is_not_of_whole_trials_is_said_or_left_out() -> None:
    class Single(Ctrnn):
        def forward(self, x: Tensor, h: Tensor | None = None) -> Any:
            return self.step(torch.zeros(len(x), N) if h is None else h, x)

    about = given(Single(), Single(1)).members[0].provenance
    assert "largest_relative_difference" not in about
    assert about["not_compared"].startswith("its forward")

    class Doubled(Ctrnn):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    assert given(Doubled(), compare=False).members[0].provenance["not_compared"] == "it has no forward of whole trials"


class Late(nn.GRU):
    """Starts elsewhere than at 0."""

    def forward(self, x: Tensor, start: Any = None) -> Any:
        return super().forward(x, torch.full((1, len(x), N), 0.25) if start is None else start)


def test_a_start_of_its_own_is_refused_behind_any_readout() -> None:
    head = nn.Sequential(nn.Linear(N, N_OUT), nn.Tanh())
    with pytest.raises(dg.UserError, match="its forward and its step disagree"):
        dg.Ensemble.from_modules([(Late(N_IN, N, batch_first=True), head)])


class Take(nn.Module):
    def __init__(self, take: Any) -> None:
        super().__init__()
        self.take = take

    def forward(self, made: Any) -> Tensor:
        return self.take(made)


@pytest.mark.parametrize(
    ("take", "message"),
    [
        (lambda made: 5 * torch.sin(3 * made[0]), "the sequence gives other outputs than its recurrent part"),
        (lambda made: made[0][:, -1], r"the sequence gives no outputs \(trial, time, out\)"),
        (lambda made: made[1][0], r"the sequence gives no outputs \(trial, time, out\)"),
    ],
)
def test_a_sequence_that_does_more_than_its_parts_is_refused(take: Any, message: str) -> None:
    module = nn.Sequential(nn.GRU(N_IN, N, batch_first=True), Take(take), nn.Linear(N, N_OUT))
    with pytest.raises(dg.UserError, match=message):
        dg.Ensemble.from_modules([module])


class Absolute(nn.RNNCell):
    """Uses its weights without their signs."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        h = x.new_zeros(len(x), N) if h is None else h
        return torch.tanh(x @ self.weight_ih.T + h @ self.weight_hh.abs().T + self.bias_ih + self.bias_hh)


def test_weights_that_are_not_what_acts_are_not_measured() -> None:
    modules = [(Absolute(N_IN, N), nn.Sequential(nn.Linear(N, N_OUT), nn.Tanh())) for _ in range(2)]
    result = dg.measure(dg.Ensemble.from_modules(modules), TASK, measures=["pif"], probe=PROBE)
    assert "were not given" in result.missing["pif"]


class Dropping(Ctrnn):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), 0.3)


def test_noise_is_seen_wherever_it_is() -> None:
    with pytest.raises(dg.UserError, match="its forward gives other outputs each time"):
        given(Dropping())
    with pytest.raises(dg.UserError, match="its readout gives something else each time"):
        given(Ctrnn(), readout=lambda module, h: nn.functional.dropout(h @ module.w_out.T, 0.3))
    with pytest.raises(dg.UserError, match="its forward gives something else each time"):
        dg.Ensemble.from_modules([Dropping()], input_size=N_IN)


def test_a_lesion_of_no_unit_changes_nothing_where_trials_start_elsewhere_than_at_0() -> None:
    ensemble = given(Ctrnn(), h0=torch.full((N,), 3.0), compare=False)
    params, behaving = ensemble.params(), Behaving.of(ensemble, TASK, PROBE)
    block = next(behaving._blocks(behaving.trials["in_distribution"], params))
    lesioned = behaving._lesioned(params, block, torch.ones(block.n_trials, N))
    np.testing.assert_allclose(lesioned[0], ensemble.rollout(block.inputs[0])[1][0], atol=1e-6)


class Clamped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(N_IN, N, batch_first=True), nn.Linear(N, N_OUT)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x.clamp(-4, 4))[0])


def test_what_acts_on_large_inputs_alone_is_seen() -> None:
    ensemble = dg.Ensemble.from_modules([Clamped(), Clamped()])
    assert ensemble.network is None
    module = ensemble.to_modules()[0]
    np.testing.assert_allclose(ensemble.rollout(10 * X)[1][0], module(10 * X).detach(), atol=1e-6)


class Steps(nn.Module):
    """An LSTM by its step: the state is [h, c]."""

    def __init__(self, core: nn.LSTM, head: nn.Module) -> None:
        super().__init__()
        self.core, self.head = core, head

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        hidden, memory = (part[None].contiguous() for part in state.chunk(2, -1))
        _, (hidden, memory) = self.core(x[None], (hidden, memory))
        return torch.cat([hidden[0], memory[0]], -1)


def test_of_a_state_of_two_variables_the_units_are_measured() -> None:
    """As of the pair that the step is made of, whose memory is lesioned with its unit."""
    torch.manual_seed(0)
    pairs = [(nn.LSTM(N_IN, N), nn.Sequential(nn.Linear(N, N_OUT), nn.Tanh())) for _ in range(2)]
    by_step = dg.Ensemble.from_modules(
        [Steps(*pair) for pair in pairs],
        step=lambda module, h, x: module.step(h, x),
        readout=lambda module, h: module.head(h[:, :N]),
        state_size=2 * N,
        hidden_size=N,
        input_size=N_IN,
    )
    measures = ["procrustes", "ood_error_mean", "fixed_points"]
    tables = [
        dg.measure(each, TASK, measures=measures, probe=PROBE).table
        for each in (dg.Ensemble.from_modules(pairs), by_step)
    ]
    np.testing.assert_allclose(tables[1].value, tables[0].value, rtol=1e-4)  # single precision
    assert tables[0].set_index(["measure", "variant"])["value"]["fixed_points", "n_total"] >= 0


def test_what_was_not_trained_does_not_count_in_the_tangent_kernel() -> None:
    class Partly(Ctrnn):
        def __init__(self) -> None:
            super().__init__()
            self.w_in.requires_grad_(False)

    class Plain(Ctrnn):
        def __init__(self) -> None:
            super().__init__()
            values = self.w_in.detach().clone()
            del self.w_in
            self.w_in = values  # type: ignore[assignment]

    kernels = []
    for kind in (Partly, Plain, Ctrnn):
        tangent = record(given(kind(), kind()), TASK, PROBE).tangent_kernel
        assert tangent is not None
        kernels.append(tangent.kernel([0, 1], [5]))
    np.testing.assert_allclose(kernels[0], kernels[1], rtol=1e-5)
    assert not np.allclose(kernels[0], kernels[2], rtol=1e-2)
    [module, _] = given(Partly(), Partly()).to_modules()
    assert (module.w_in.requires_grad, module.w_rec.requires_grad) == (False, True)


def test_a_step_of_another_module_is_refused() -> None:
    other = Ctrnn(5)
    with pytest.raises(dg.UserError, match="its step does not hang on the parameters of the module that it is given"):
        given(Ctrnn(), step=lambda _, h, x: other.step(h.float(), x.float()).to(h), compare=False)


def test_a_step_may_write_into_the_state_that_it_is_given() -> None:
    class InPlace(Ctrnn):
        def step(self, h: Tensor, x: Tensor) -> Tensor:
            new = super().step(h, x)
            h[:, 0] = 0.0
            return new

    np.testing.assert_array_equal(given(InPlace()).rollout(X)[1], given(Ctrnn()).rollout(X)[1])


def test_a_learned_start_that_was_0_before_training() -> None:
    class Started(nn.Module):
        def __init__(self, start: float) -> None:
            super().__init__()
            self.rnn, self.fc = nn.GRU(N_IN, N, batch_first=True), nn.Linear(N, N_OUT)
            self.h0 = nn.Parameter(torch.full((1, 1, N), start))

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.rnn(x, self.h0.expand(1, len(x), N).contiguous())[0])

    before = [Started(0.0), Started(0.0)]
    ensemble = dg.Ensemble.from_modules([Started(0.5), Started(0.5)], initial=before)
    np.testing.assert_allclose(ensemble.at(0).rollout(X)[1][1], before[1](X).detach(), atol=1e-6)


def test_buffers_before_training_are_those_before_training() -> None:
    class Masked(Ctrnn):
        def __init__(self, seed: int, scale: float) -> None:
            super().__init__(seed)
            self.register_buffer("scale", torch.tensor(scale))

        def step(self, h: Tensor, x: Tensor) -> Tensor:
            return super().step(h, self.scale * x)  # type: ignore[operator]

    before = [Masked(3, 0.5), Masked(4, 0.5)]
    ensemble = given(Masked(0, 2.0), Masked(1, 2.0), initial=before)
    np.testing.assert_allclose(ensemble.at(0).rollout(X)[1][1], before[1](X).detach(), atol=1e-6)


def test_members_before_training_that_were_not_given_are_said() -> None:
    with pytest.raises(dg.UserError, match="the members before training were not given"):
        given(Ctrnn()).at(0)


def test_states_of_modules_of_one_s_own_are_arrays_too() -> None:
    ensemble = given(Ctrnn(), Ctrnn(1))
    arrays = ensemble.to_arrays(X)
    assert set(arrays) == {"states", "inputs"}
    result = dg.measure_arrays(**arrays, fully_observed=True, measures=["participation_ratio"])
    assert np.isfinite(result.table.value).any()


def test_numbers_of_numpy_and_whole_ones_are_taken() -> None:
    one, other = given(Ctrnn(), state_size=np.int64(N), h0=[0] * N, compare=False), given(Ctrnn())
    np.testing.assert_array_equal(one.rollout(X)[1], other.rollout(X)[1])


def test_the_member_that_is_meant_is_named() -> None:
    with pytest.raises(dg.UserError, match=r"member 1 has numbers in torch\.float16"):
        dg.Ensemble.from_modules([Clamped(), Clamped().half()])


def test_a_lesion_silences_the_memory_of_an_lstm_cell_too() -> None:
    torch.manual_seed(0)
    layers = [(nn.LSTM(N_IN, N), nn.Sequential(nn.Linear(N, N_OUT))) for _ in range(2)]
    cells = []
    for layer, head in layers:
        cell = nn.LSTMCell(N_IN, N)
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
        cells.append((cell, head))
    probe = dg.Probe(n_trials=8, lesion=0.4)
    errors = [
        dg.measure(dg.Ensemble.from_modules(each), TASK, measures=["ood_error_mean"], probe=probe).table.value
        for each in (layers, cells)
    ]
    np.testing.assert_allclose(errors[1], errors[0], rtol=1e-4)  # single precision


def relabelled(module: Ctrnn, signs: Tensor) -> Ctrnn:
    """The same network of odd units, with other signs."""
    other = Ctrnn()
    with torch.no_grad():
        other.w_rec.copy_(signs[:, None] * module.w_rec * signs)
        other.w_in.copy_(signs[:, None] * module.w_in)
        other.w_out.copy_(module.w_out * signs)
    return other


def test_the_symmetry_of_given_weights_is_the_one_that_is_said() -> None:
    def weights(module: Any) -> dict[str, Tensor]:
        return {"recurrent": module.w_rec, "input": module.w_in, "readout": module.w_out}

    pair = Ctrnn(), relabelled(Ctrnn(), torch.tensor([1.0, -1, 1, -1, -1, 1]))
    signed = dg.measure(
        given(*pair, weights=weights, symmetry="signed_permutation"), TASK, measures=["signed_pif"], probe=PROBE
    )
    assert signed.table.set_index("variant")["value"]["joint"] == pytest.approx(0, abs=1e-5)
    plain = dg.measure(given(*pair, weights=weights), TASK, measures=["signed_pif", "pif"], probe=PROBE)
    rows = plain.table.set_index(["measure", "variant"])["value"]
    assert np.isnan(rows["signed_pif", "recurrent"])
    assert rows["pif", "recurrent"] > 0.1


def test_weights_may_have_an_axis_of_gates() -> None:
    def weights(module: Any) -> dict[str, Tensor]:
        gates = torch.stack([module.w_rec, 2 * module.w_rec])
        return {"recurrent": gates, "input": torch.stack([module.w_in] * 2), "bias": torch.zeros(2, N)}

    ensemble = given(Ctrnn(), Ctrnn(1), weights=weights)
    assert ensemble.weights()["recurrent"].shape == (2, 2, N, N)
    recorded = record(ensemble, TASK, PROBE).weights
    assert recorded is not None
    assert recorded[0]["recurrent"].shape == (2, N, N)
    np.testing.assert_allclose(recorded[0]["recurrent"][1], 2 * recorded[0]["recurrent"][0])


def test_modules_run_in_evaluation_mode() -> None:
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(N, N_OUT))
    core = nn.GRU(N_IN, N, batch_first=True)
    ensemble = dg.Ensemble.from_modules([(core.train(), head.train())])
    assert head.training
    np.testing.assert_allclose(ensemble.rollout(X)[1][0], head.eval()(core(X)[0]).detach(), atol=1e-6)


def test_a_small_difference_of_forward_and_step_is_refused_too() -> None:
    class Slightly(Ctrnn):
        def forward(self, x: Tensor) -> Tensor:
            h, outputs = x.new_zeros(len(x), N), []
            for t in range(x.shape[1]):
                h = self.step(h, 1.001 * x[:, t])
                outputs.append(h @ self.w_out.T)
            return torch.stack(outputs, 1)

    with pytest.raises(dg.UserError, match="its forward and its step disagree"):
        given(Slightly())
