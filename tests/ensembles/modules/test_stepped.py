"""Modules of one's own by their step and readout: what they do is what is measured, in any precision."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import root
from torch import Tensor, nn

import degeneracy as dg
from degeneracy.analysis.dynamics.attractors.fixed_points import find_fixed_points
from degeneracy.measuring.record import record

N_IN, N, N_OUT = 2, 8, 2


class Leaky(nn.Module):
    """Leaky softplus units, of which each excites or inhibits: signs and leak are mere attributes."""

    def __init__(self, seed: int, n: int = N, leak: float = 0.2) -> None:
        super().__init__()
        gen = torch.Generator().manual_seed(seed)
        self.w_rec = nn.Parameter(torch.rand(n, n, generator=gen) / n)
        self.w_in = nn.Parameter(torch.randn(n, N_IN, generator=gen))
        self.bias = nn.Parameter(torch.randn(n, generator=gen))
        self.out = nn.Parameter(torch.randn(N_OUT, n, generator=gen))
        self.signs = torch.tensor([1.0] * (3 * n // 4) + [-3.0] * (n - 3 * n // 4))
        self.leak, self.n = leak, n

    def step(self, h: Tensor, x: Tensor) -> Tensor:
        drive = h @ (self.w_rec.abs() * self.signs).T + x @ self.w_in.T + self.bias
        return (1 - self.leak) * h + self.leak * nn.functional.softplus(drive)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(len(x), self.n), []
        for t in range(x.shape[1]):
            h = self.step(h, x[:, t])
            outputs.append(h @ self.out.T)
        return torch.stack(outputs, 1)


def step(module: Any, h: Tensor, x: Tensor) -> Tensor:
    return module.step(h, x)


def readout(module: Any, h: Tensor) -> Tensor:
    return h @ module.out.T


SIDES: dict[str, Any] = {"step": step, "readout": readout, "state_size": N, "input_size": N_IN}
TASK = dg.tasks.FlipFlop(channels=2, n_steps=12)


def ensemble(n: int = 3, **options: Any) -> dg.Ensemble:
    return dg.Ensemble.from_modules([Leaky(k) for k in range(n)], **{**SIDES, **options})


def trials() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(4, 9, N_IN)))


def test_a_rollout_is_the_forward_of_the_module() -> None:
    given = [Leaky(k) for k in range(3)]
    states, outputs = dg.Ensemble.from_modules(given, **SIDES).rollout(trials())
    assert states.shape == (3, 4, 9, N)
    for module, made in zip(given, outputs, strict=True):
        expected = module(trials().float()).detach().numpy()
        np.testing.assert_allclose(made, expected, rtol=1e-5)  # single precision


def test_the_modules_are_left_alone_and_later_changes_do_not_reach_the_ensemble() -> None:
    module = Leaky(0).train()
    made = dg.Ensemble.from_modules([module, Leaky(1)], **SIDES)
    before = made.rollout(trials())[1]
    assert module.training
    assert module.w_rec.requires_grad
    assert "signs" in vars(module)  # a buffer in the copy alone
    with torch.no_grad():
        module.w_rec.zero_()
    module.signs.zero_()
    np.testing.assert_array_equal(made.rollout(trials())[1], before)


def test_fixed_points_are_the_roots_of_the_user_s_own_equations() -> None:
    given = [Leaky(k, leak=0.3) for k in range(2)]
    recording = record(dg.Ensemble.from_modules(given, **SIDES), TASK, dg.Probe(n_trials=8, n_dynamics_trials=8))
    assert recording.step is not None
    found = find_fixed_points(recording.step, held_input="none", n_starts=16)
    for module, points in zip(given, found, strict=True):
        own = {name: value.detach().numpy().astype(float) for name, value in module.named_parameters()}
        acting = np.abs(own["w_rec"]) * module.signs.numpy()

        def miss(h: np.ndarray, acting: Any = acting, bias: Any = own["bias"]) -> np.ndarray:
            return np.logaddexp(0, acting @ h + bias) - h

        expected = root(miss, np.ones(N), tol=1e-12)
        assert expected.success
        assert len(points) == 1
        np.testing.assert_allclose(points.position[0], expected.x, atol=1e-9)  # the search's own tolerance


def test_the_start_of_trials() -> None:
    start = torch.linspace(-1, 1, N)

    class Started(Leaky):
        def __init__(self, seed: int) -> None:
            super().__init__(seed)
            self.h0 = nn.Parameter(start.clone())

        def forward(self, x: Tensor) -> Tensor:
            h, outputs = self.h0.expand(len(x), -1), []
            for t in range(x.shape[1]):
                h = self.step(h, x[:, t])
                outputs.append(h @ self.out.T)
            return torch.stack(outputs, 1)

    given = [Started(k) for k in range(2)]
    for h0 in (start, lambda module: module.h0):
        made = dg.Ensemble.from_modules(given, **SIDES, h0=h0)
        expected = given[1](trials().float()).detach().numpy()
        np.testing.assert_allclose(made.rollout(trials())[1][1], expected, rtol=1e-5)
    with pytest.raises(dg.UserError, match=r"forward and its step disagree: .* the most at step 0 of 12"):
        dg.Ensemble.from_modules(given, **SIDES)


def test_weights_that_are_given_are_measured() -> None:
    """Two networks that differ in the order of their units alone are the same; the signs of units are not exchanged."""
    one = Leaky(0)
    other, order = Leaky(0), torch.tensor([2, 0, 1, 5, 3, 4, 7, 6])  # within the excitatory, within the inhibitory
    with torch.no_grad():
        other.w_rec.copy_(one.w_rec[order][:, order])
        other.w_in.copy_(one.w_in[order])
        other.bias.copy_(one.bias[order])
        other.out.copy_(one.out[:, order])

    def weights(module: Any) -> dict[str, Tensor]:
        acting = module.w_rec.abs() * module.signs
        return {"recurrent": acting, "input": module.w_in, "bias": module.bias, "readout": module.out}

    made = dg.Ensemble.from_modules([one, other], **SIDES, weights=weights)
    result = dg.measure(made, TASK, measures=["pif", "procrustes"], probe=dg.Probe(n_trials=8))
    rows = result.table.set_index(["measure", "variant"])["value"]
    assert rows["pif", "joint"] == pytest.approx(0, abs=1e-5)  # of weights of order 1, in single precision
    assert rows["procrustes", "driven"] == pytest.approx(0, abs=1e-3)
    kept = made.weights()["recurrent"]
    np.testing.assert_array_equal(kept[0], (one.w_rec.abs() * one.signs).detach().numpy())
    without = dg.measure(ensemble(2), TASK, measures=["pif"], probe=dg.Probe(n_trials=8))
    assert without.missing["pif"] == "needs weights: the weights of the modules were not given (weights=)"


def test_weights_with_axes_of_their_own() -> None:
    def weights(module: Any) -> dict[str, Any]:
        return {"recurrent": module.w_rec, "gain": (module.bias, ("unit",), "unit")}

    made = ensemble(2, weights=weights)
    assert made.cells[0].named["gain"].role == "unit"
    result = dg.measure(made, TASK, measures=["pif"], probe=dg.Probe(n_trials=8))
    assert result.table.value.notna().any()


def test_modules_before_training_are_the_reference() -> None:
    made = ensemble(2, initial=[Leaky(10), Leaky(11)])
    states = made.at(0).rollout(trials())[0]
    expected = ensemble_of([Leaky(10), Leaky(11)]).rollout(trials())[0]
    np.testing.assert_array_equal(states, expected)
    result = dg.measure(made, TASK, measures=["output_distance"], probe=dg.Probe(n_trials=8))
    assert result.table.reference.notna().all()


def ensemble_of(modules: list[Any]) -> dg.Ensemble:
    return dg.Ensemble.from_modules(modules, **SIDES)


def test_members_of_other_classes_and_sizes_stand_side_by_side() -> None:
    """Each measured as it is alone, whatever stands beside it; what needs one size is a row with the reason."""
    small, large = Leaky(0), Leaky(1, n=12)
    sides = {**SIDES, "state_size": lambda module: module.n}
    made = dg.Ensemble.from_modules([small, large, Leaky(2)], **sides)
    assert repr(made) == "Ensemble(3 members of 2 of Leaky 8, 1 of Leaky 12, 3 converged or given)"
    states, outputs = made.rollout(trials())
    assert [each.shape[-1] for each in states] == [8, 12, 8]
    np.testing.assert_array_equal(outputs[[0, 2]], ensemble_of([small, Leaky(2)]).rollout(trials())[1])
    result = dg.measure(made, TASK, measures=["procrustes", "fixed_points"], probe=dg.Probe(n_trials=8))
    assert result.missing["fixed_points"] == "needs step: the members' states differ in size"
    alone = dg.measure(
        ensemble_of([small, Leaky(2)]), TASK, measures=["procrustes"], probe=dg.Probe(n_trials=8)
    ).distances["procrustes"]
    assert result.distances["procrustes"][0, 2] == pytest.approx(alone[0, 1], rel=1e-6)


def test_double_precision_stays() -> None:
    made = dg.Ensemble.from_modules([Leaky(0).double(), Leaky(1).double()], **SIDES)
    assert made.rollout(trials())[1].dtype == np.float64


class Noisy(Leaky):
    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return super().step(h, x) + torch.randn_like(h)


class Doubled(Leaky):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Thin(Leaky):
    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return super().step(h, x)[:, :-1]


class Broken(Leaky):
    def step(self, h: Tensor, x: Tensor) -> Tensor:
        raise ValueError(f"needs a mask, got {h.ndim} and {x.ndim} axes")


class Single(Leaky):
    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return super().step(h, x) @ torch.eye(N)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (Noisy, {}, "its step gives something else each time; what it draws at random has to be off"),
        (Doubled, {}, r"its forward and its step disagree: .* up to 0\.5 of their size, the most at step \d+ of 12"),
        (Thin, {}, r"its step gives \(5, 7\); needed is \(5, 8\)"),
        (Broken, {}, r"member 1: its step cannot be run \(ValueError: needs a mask, .*\)"),
        (Single, {}, "its step in double precision cannot be run"),
        (Leaky, {"readout": None}, "step= and readout= are given together"),
        (Leaky, {"input_size": None}, "step= needs state_size= and input_size="),
        (Leaky, {"state_size": 0}, "state_size of member 0 is 0; needed is a whole number from 1 on"),
        (Leaky, {"output_size": 3}, r"its readout gives \(5, 2\); needed is \(5, 3\)"),
        (Leaky, {"h0": torch.zeros(3)}, r"h0 of member 0 has shape \(3,\); needed are 8 finite numbers"),
        (Leaky, {"weights": lambda module: {"w": module.w_rec}}, "known by name are recurrent, input, bias, readout"),
        (Leaky, {"weights": lambda module: {"recurrent": module.bias}}, r"with shape \(8,\); needed are .*'pre'"),
        (Leaky, {"weights": lambda module: {"recurrent": module.w_rec[:3, :3]}}, "the module has 8 units"),
        (Leaky, {"weights": lambda module: {"g": (module.bias, ("unit",), "gain")}}, "the role 'gain' .known:"),
        (Leaky, {"initial": [Leaky(0)]}, "initial= needs one module per member, 2 of them, got 1"),
        (Leaky, {"initial": [Leaky(0), Leaky(0, leak=0.5)]}, "differ in more than their parameters and buffers"),
    ],
)
def test_what_is_refused_in_one_line(given: type[Leaky], options: dict[str, Any], message: str) -> None:
    with pytest.raises(dg.UserError, match=message) as caught:
        dg.Ensemble.from_modules([Leaky(0), given(1)], **{**SIDES, **options})
    assert "\n" not in str(caught.value)


def test_an_ensemble_of_one_s_own_code_is_not_saved(tmp_path: Any) -> None:
    with pytest.raises(dg.UserError, match="keep the state_dicts of modules"):
        ensemble().save(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
