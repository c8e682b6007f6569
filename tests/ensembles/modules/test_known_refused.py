"""Modules that cannot be read are refused and left as they were; rounding alone is never refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_modules import KINDS, N_IN, N_OUT, Counting, N, Pair, drawn, pair

from degeneracy.core.errors import UserError
from degeneracy.ensembles.ensemble import Ensemble


def test_a_module_that_is_refused_is_left_as_it_was_too() -> None:
    core, readout = drawn(Counting(N_IN, N), Squashed(N, N_OUT))
    with pytest.raises(UserError, match="largest difference of its outputs"):
        Ensemble.from_modules([(core, readout)])
    assert (core.calls, core.training, readout.training) == (0, True, True)
    assert not core.last.any()


class Doubled(nn.GRU):
    def forward(self, x: Tensor, start: Any = None) -> Any:
        states, end = super().forward(x, start)
        return 2 * states, end


class OwnStart(nn.GRU):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x, torch.full((1, x.shape[1], N), 0.25))


class Clipped(nn.RNN):
    """Differs for strong inputs alone."""

    def forward(self, x: Tensor, start: Any = None) -> Any:
        return super().forward(x.clamp(-5, 5), start)


class Squashed(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(super().forward(x))


class Thin(nn.GRU):
    def forward(self, x: Tensor, start: Any = None) -> Any:
        return super().forward(x, start)[0][:, :, :2], None


class Broken(nn.GRU):
    def forward(self, _: Tensor) -> Any:
        raise RuntimeError("needs a mask\nand more")


class Unstable(nn.GRU):
    def forward(self, x: Tensor, start: Any = None) -> Any:
        return super().forward(x, start)[0] / 0, None


class Undefined(nn.GRU):
    def forward(self, x: Tensor, start: Any = None) -> Any:
        return super().forward(x, start)[0] * torch.nan, None


def hooked(core: nn.Module) -> nn.Module:
    core.register_forward_hook(lambda *given: (given[2][0] + 0.01, given[2][1]))
    return core


def bare(core: nn.Module) -> nn.Module:
    for name, _ in list(core.named_parameters()):
        delattr(core, name)
    return core


REFUSED: dict[str, tuple[Callable[[], Pair], str]] = {
    "own forward": (
        lambda: (Doubled(N_IN, N), nn.Linear(N, N_OUT)),
        "largest difference of its states, read as gru",
    ),
    "own start": (lambda: (OwnStart(N_IN, N), nn.Linear(N, N_OUT)), "largest difference of its states"),
    "clipped inputs": (lambda: (Clipped(N_IN, N), nn.Linear(N, N_OUT)), "largest difference of its states"),
    "hook": (lambda: (hooked(nn.LSTM(N_IN, N)), nn.Linear(N, N_OUT)), "largest difference of its states"),
    "readout": (lambda: (nn.GRU(N_IN, N), Squashed(N, N_OUT)), "largest difference of its outputs"),
    "not finite": (lambda: (Unstable(N_IN, N), nn.Linear(N, N_OUT)), "is inf"),
    "not a number": (lambda: (Undefined(N_IN, N), nn.Linear(N, N_OUT)), "is inf"),
    "shape": (lambda: (Thin(N_IN, N), nn.Linear(N, N_OUT)), "cannot be run on inputs of 3 numbers"),
    "raises": (
        lambda: (Broken(N_IN, N), nn.Linear(N, N_OUT)),
        r"member 1 cannot .*\(RuntimeError: needs a mask\)",
    ),
    "half": (lambda: (nn.GRU(N_IN, N).bfloat16(), nn.Linear(N, N_OUT)), "parameters in torch.bfloat16"),
    "meta": (lambda: (nn.GRU(N_IN, N, device="meta"), nn.Linear(N, N_OUT)), "on meta"),
    "directions": (
        lambda: (nn.GRU(N_IN, N, bidirectional=True), nn.Linear(N, N_OUT)),
        "bidirectional = True",
    ),
    "nothing": (lambda: (bare(nn.GRU(N_IN, N)), nn.Linear(N, N_OUT)), "a module without parameters"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(what: str) -> None:
    make, message = REFUSED[what]
    core, readout = make()
    if what != "meta":
        drawn(core, readout)
    with pytest.raises(UserError, match=message) as caught:
        Ensemble.from_modules([pair("gru"), (core, readout)])
    assert "\n" not in str(caught.value)
    assert core.training


def test_the_largest_difference_is_that_of_the_states() -> None:
    """A start of 0.25 in a GRU without weights: h_1 = z h_0 and z = 1/2, so that states differ by 0.125 at most."""
    core, readout = OwnStart(N_IN, N), nn.Linear(N, N_OUT)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.zero_()
    with pytest.raises(UserError, match=r"is 0\.125, where rounding explains"):
        Ensemble.from_modules([(core, readout)])


@pytest.mark.parametrize("gain", [1.0, 3.0, 10.0])
@pytest.mark.parametrize("kind", KINDS)
def test_rounding_alone_is_never_refused(kind: str, gain: float) -> None:
    """Wide, strong and chaotic networks in single precision round far apart within few steps."""
    sizes = {
        "tanh": nn.RNN,
        "relu": lambda *given: nn.RNN(*given, nonlinearity="relu"),
        "gru": nn.GRU,
        "lstm": nn.LSTM,
    }
    for seed in range(3):
        core, readout = drawn(sizes[kind](20, 200), nn.Linear(200, N_OUT), seed)
        with torch.no_grad():
            core.weight_hh_l0.mul_(gain * 2 / 200**0.5)
        ensemble = Ensemble.from_modules([(core, readout)])
        assert ensemble.members[0].provenance["largest_relative_difference"] >= 0


def test_a_mixture_of_precisions_is_kept_in_the_higher() -> None:
    core, readout = pair("gru")
    ensemble = Ensemble.from_modules([(core, readout.double())])
    assert {value.dtype for value in ensemble.params().values()} == {torch.float64}


def test_a_module_alone_is_no_list() -> None:
    with pytest.raises(UserError, match="a list of modules is needed, got GRU"):
        Ensemble.from_modules(nn.GRU(N_IN, N))  # type: ignore[arg-type]
