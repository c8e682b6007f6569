"""The recurrent modules of PyTorch in every form in which people keep them: the same outputs as the module's own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import degeneracy as dg

N_IN, N, N_OUT = 3, 6, 2
X = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 9, N_IN))).float()


def drawn(module: nn.Module, seed: int) -> nn.Module:
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value.normal_(std=0.5, generator=gen)
    return module


def run(core: Any) -> Tensor:
    """The last layer's states on the trials, as PyTorch gives them."""
    if isinstance(core, nn.RNNBase):
        made = core(X if core.batch_first else X.transpose(0, 1))[0]
        return made if core.batch_first else made.transpose(0, 1)
    state, states = None, []
    for x in X.unbind(1):
        state = core(x, state)
        states.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(states, 1)


class Own(nn.Module):
    """A cell in the form of nn.RNNCell."""

    def __init__(self) -> None:
        super().__init__()
        self.input_size, self.hidden_size = N_IN, N
        self.into, self.within = nn.Linear(N_IN, N), nn.Linear(N, N)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        h = x.new_zeros(len(x), N) if h is None else h
        return torch.sin(self.into(x) + self.within(h))


class First(nn.Module):
    """Takes the states out of the tuple."""

    def forward(self, made: Any) -> Tensor:
        return made[0]


class Net(nn.Module):
    """What most people write."""

    def __init__(self, kind: Any = nn.GRU, **options: Any) -> None:
        super().__init__()
        self.rnn, self.fc = kind(N_IN, N, batch_first=True, **options), nn.Linear(N, N_OUT)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.rnn(x)[0])


def mlp(size: int = N) -> nn.Module:
    return nn.Sequential(nn.Linear(size, 5), nn.Tanh(), nn.Linear(5, N_OUT))


CORES: dict[str, Callable[[], Any]] = {
    "two layers": lambda: nn.RNN(N_IN, N, num_layers=2),
    "three layers, batch first": lambda: nn.GRU(N_IN, N, num_layers=3, batch_first=True),
    "two layers of lstm": lambda: nn.LSTM(N_IN, N, num_layers=2, bias=False),
    "projection": lambda: nn.LSTM(N_IN, 9, proj_size=N),
    "projections": lambda: nn.LSTM(N_IN, 9, num_layers=2, proj_size=N, batch_first=True),
    "one layer": lambda: nn.LSTM(N_IN, N),
    "rnn cell": lambda: nn.RNNCell(N_IN, N, nonlinearity="relu"),
    "gru cell": lambda: nn.GRUCell(N_IN, N),
    "lstm cell": lambda: nn.LSTMCell(N_IN, N, bias=False),
    "own cell": Own,
}


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize("readout", [mlp, lambda: nn.Linear(N, N_OUT), lambda: None], ids=["mlp", "linear", "none"])
def test_outputs_are_the_module_s_own(name: str, readout: Callable[[], Any]) -> None:
    given = [(drawn(CORES[name](), k), readout() and drawn(readout(), k)) for k in range(2)]
    made = dg.Ensemble.from_modules(given)
    _, outputs = made.rollout(X)
    for (core, read), found in zip(given, outputs, strict=True):
        states = run(core)
        expected = (states if read is None else read(states)).detach()
        np.testing.assert_allclose(found, expected, atol=1e-5)  # single precision, sums in another order


def sequence(*rest: nn.Module) -> nn.Module:
    return nn.Sequential(nn.GRU(N_IN, N, batch_first=True), *rest)


FORMS: dict[str, tuple[Callable[[], Any], Callable[[Any], Tensor], str]] = {
    "sequence": (
        lambda: sequence(First(), nn.Linear(N, N_OUT)),
        lambda net: net(X),
        "Ensemble(2 members of gru 6, 2 converged or given)",
    ),
    "sequence that does not run by itself": (
        lambda: sequence(nn.Linear(N, N_OUT)),
        lambda net: net[1](run(net[0])),
        "Ensemble(2 members of gru 6, 2 converged or given)",
    ),
    "sequence with more behind it": (
        lambda: sequence(First(), nn.Linear(N, N), nn.Tanh(), nn.Linear(N, N_OUT)),
        lambda net: net(X),
        "Ensemble(2 members of GRU 6, 2 converged or given)",
    ),
    "core alone": (
        lambda: nn.GRU(N_IN, N),
        run,
        "Ensemble(2 members of GRU 6, 2 converged or given)",
    ),
    "core and readout in one module": (Net, lambda net: net(X), "Ensemble(2 members of gru 6, 2 converged or given)"),
    "two layers in one module": (
        lambda: Net(nn.GRU, num_layers=2),
        lambda net: net(X),
        "Ensemble(2 members of GRU of 2 layers 12, 2 converged or given)",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_people_keep_is_read(form: str) -> None:
    make, run_it, said = FORMS[form]
    given = [drawn(make(), k) for k in range(2)]
    made = dg.Ensemble.from_modules(given)
    assert repr(made) == said
    for module, outputs in zip(given, made.rollout(X)[1], strict=True):
        np.testing.assert_allclose(outputs, run_it(module).detach(), atol=1e-5)


def test_the_weights_of_one_layer_are_known_whatever_reads_it_out() -> None:
    """A relabelled copy is the same network, signs included; of two layers nothing is known."""
    one, other = (drawn(nn.GRU(N_IN, N), 0) for _ in range(2))
    order, signs = torch.tensor([3, 0, 5, 1, 4, 2]), torch.tensor([1.0, -1, 1, 1, -1, -1])
    with torch.no_grad():
        for gate, factor in ((0, 1.0), (1, 1.0), (2, signs)):
            rows = slice(gate * N, (gate + 1) * N)
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
                value = getattr(one, name)[rows][order]
                value = value[:, order] * signs if name == "weight_hh_l0" else value
                by_row = (
                    torch.as_tensor(factor).expand(N) if value.ndim == 1 else torch.as_tensor(factor).expand(N)[:, None]
                )
                getattr(other, name)[rows] = by_row * value
    task = dg.tasks.FlipFlop(channels=N_IN, n_steps=12)
    reads = [nn.Sequential(nn.Linear(N, 4), nn.ReLU(), nn.Linear(4, N_IN)) for _ in range(2)]
    made = dg.Ensemble.from_modules(list(zip([one, other], reads, strict=True)))
    result = dg.measure(made, task, measures=["signed_pif"], probe=dg.Probe(n_trials=8))
    assert result.table.set_index("variant")["value"]["joint"] == pytest.approx(0, abs=1e-5)  # single precision
    layers = [(nn.GRU(N_IN, N, num_layers=2), nn.Linear(N, N_IN)) for _ in range(2)]
    without = dg.measure(dg.Ensemble.from_modules(layers), task, measures=["pif"], probe=dg.Probe(n_trials=8))
    assert "were not given" in without.missing["pif"]


def test_a_lesion_silences_the_memory_of_its_unit() -> None:
    """As in the package's own cell: with one layer and an identical readout the variants have the same errors."""
    task, probe = dg.tasks.FlipFlop(channels=N_OUT, n_steps=12), dg.Probe(n_trials=8, lesion=0.4)
    cores = [drawn(nn.LSTM(N_OUT, N), k) for k in range(2)]
    reads = [drawn(nn.Linear(N, N_OUT), k) for k in range(2)]
    known = dg.Ensemble.from_modules(list(zip(cores, reads, strict=True)))
    as_it_is = dg.Ensemble.from_modules([(core, nn.Sequential(read)) for core, read in zip(cores, reads, strict=True)])
    assert as_it_is.network is None
    rows = [
        dg.measure(each, task, measures=["ood_error_mean"], probe=probe).table.set_index("variant")["value"]
        for each in (known, as_it_is)
    ]
    assert {"lesion", "state_kick"} <= set(rows[0].index)
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-4)  # single precision


def test_known_cells_of_several_kinds_are_one_ensemble() -> None:
    given = [
        (drawn(core(N_IN, N), k), drawn(nn.Linear(N, N_OUT), k)) for k, core in enumerate((nn.RNN, nn.GRU, nn.RNN))
    ]
    made = dg.Ensemble.from_modules(given)
    assert made.kind == "2 of tanh 6, 1 of gru 6"
    assert list(made.parts()) == [(0, 2), (1,)]
    for (core, read), outputs in zip(given, made.rollout(X)[1], strict=True):
        np.testing.assert_allclose(outputs, read(run(core)).detach(), atol=1e-5)


class Whole(nn.Module):
    """Gives outputs and states of whole trials, and no step."""

    def __init__(self, states: bool = True, batch_first: bool = True) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv1d(N_IN, N, 3), nn.Linear(N, N_OUT)
        self.states, self.batch_first = states, batch_first

    def forward(self, x: Tensor) -> Any:
        x = x if self.batch_first else x.transpose(0, 1)
        states = torch.tanh(self.conv(nn.functional.pad(x.mT, (2, 0))).mT)
        outputs = self.out(states)
        made = (outputs, states) if self.batch_first else (outputs.transpose(0, 1), states.transpose(0, 1))
        return made if self.states else made[0]


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_module_that_gives_outputs_and_states_is_taken_without_a_step(batch_first: bool) -> None:
    task = dg.tasks.FlipFlop(channels=N_IN, n_steps=12)
    given = [drawn(Whole(batch_first=batch_first), k) for k in range(3)]
    for module in given:
        module.out = nn.Linear(N, N_IN)  # type: ignore[assignment]
    made = dg.Ensemble.from_modules(given, input_size=N_IN, batch_first=batch_first)
    module = given[0]
    expected = module(X)[0] if batch_first else module(X.transpose(0, 1))[0].transpose(0, 1)
    np.testing.assert_allclose(made.rollout(X)[1][0], expected.detach(), atol=1e-6)
    names = ["output_distance", "procrustes", "linear_flow", "fixed_points"]
    probe, options = dg.Probe(n_trials=8, n_dynamics_trials=64), {"linear_flow": {"rank": 4}}
    result = dg.measure(made, task, measures=names, probe=probe, options=options)
    rows = result.table.set_index(["measure", "variant"])["value"]
    for name, variant in (("output_distance", "in_distribution"), ("procrustes", "driven"), ("linear_flow", "driven")):
        assert np.isfinite(rows[name, variant])
    assert result.missing["fixed_points"].startswith("needs step: no step of the networks is known")
    states = module(X)[1] if batch_first else module(X.transpose(0, 1))[1].transpose(0, 1)
    np.testing.assert_allclose(made.rollout(X)[0][0], states.detach(), atol=1e-6)


def test_a_module_that_gives_outputs_alone() -> None:
    given = [drawn(Whole(states=False), k) for k in range(2)]
    task = dg.tasks.DelayedDiscrimination()
    for module in given:
        module.conv, module.out = nn.Conv1d(task.input_size, N, 3), nn.Linear(N, task.output_size)  # type: ignore[assignment]
    made = dg.Ensemble.from_modules(given, input_size=task.input_size)
    result = dg.measure(made, task, measures=["output_distance", "procrustes"], probe=dg.Probe(n_trials=8))
    assert result.table.value.notna().any()
    assert result.missing == {"procrustes": "needs states: the networks give outputs alone"}


class Swapped(nn.Module):
    """Takes its trials for its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc, self.more = nn.GRU(N_IN, N), nn.Linear(N, N), nn.Linear(N, N_OUT)

    def forward(self, x: Tensor) -> Any:
        return self.more(self.fc(self.rnn(x)[0]))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([Whole()], {}, "member 0 is a Whole: give input_size= to run its forward on whole trials, or step="),
        ([Swapped()], {}, r"change with the inputs of another; give batch_first=False if its forward takes \(time"),
        ([(nn.Bilinear(3, 3, 3), nn.Linear(3, 1))], {}, "is a Bilinear without input_size and hidden_size"),
        ([(nn.GRU(3, 6, num_layers=2), nn.Linear(5, 2))], {}, "its readout cannot be run"),
        ([Whole()], {"input_size": 4}, "its forward cannot be run"),
        ([nn.GRU(3, 6)], {"h0": torch.zeros(6)}, "h0= has a meaning beside step= and readout= alone"),
    ],
)
def test_what_is_refused_in_one_line(given: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(dg.UserError, match=message) as caught:
        dg.Ensemble.from_modules(given, **options)
    assert "\n" not in str(caught.value)
