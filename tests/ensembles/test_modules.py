"""PyTorch modules of every make: what acts is what is read, it is proved, and the module is left as it was."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.optim.swa_utils import AveragedModel

from degeneracy.core.errors import UserError
from degeneracy.ensembles.ensemble import Ensemble

N_IN, N, N_OUT = 3, 6, 2
KINDS: dict[str, Callable[..., Any]] = {
    "tanh": lambda **options: nn.RNN(N_IN, N, **options),
    "relu": lambda **options: nn.RNN(N_IN, N, nonlinearity="relu", **options),
    "gru": lambda **options: nn.GRU(N_IN, N, **options),
    "lstm": lambda **options: nn.LSTM(N_IN, N, **options),
}
Pair = tuple[Any, Any]


def drawn(core: Any, readout: Any, seed: int = 0) -> Pair:
    """The pair with weights from a generator of their own."""
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in (*core.parameters(), *readout.parameters()):
            parameter.normal_(std=0.5, generator=gen)
    return core, readout


def pair(kind: str, seed: int = 0, **options: Any) -> Pair:
    return drawn(KINDS[kind](**options), nn.Linear(N, N_OUT), seed)


def pruned_bias(core: Any, readout: Any) -> Pair:
    prune.random_unstructured(core, "bias_hh_l0", amount=0.5)
    return core, readout


def pruned(core: Any, readout: Any) -> Pair:
    for name in ("weight_hh_l0", "weight_ih_l0", "bias_ih_l0"):
        prune.l1_unstructured(core, name, amount=0.4)
    prune.l1_unstructured(readout, "weight", amount=0.4)
    return core, readout


def pruned_for_good(core: Any, readout: Any) -> Pair:
    prune.l1_unstructured(core, "weight_hh_l0", amount=0.4)
    prune.remove(core, "weight_hh_l0")
    return core, readout


def old_norm(core: Any, readout: Any) -> Pair:
    """The norm of earlier torch, whose weights are made by a hook, and moved since: as after a step of training."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, of the older function
        for name in ("weight_hh_l0", "weight_ih_l0"):
            torch.nn.utils.weight_norm(core, name)
        torch.nn.utils.weight_norm(readout)
    with torch.no_grad():
        core.weight_hh_l0_g.mul_(1.5)
        readout.weight_g.mul_(0.7)
    return core, readout


def new_norm(core: Any, readout: Any) -> Pair:
    parametrizations.weight_norm(core, "weight_hh_l0")
    parametrizations.weight_norm(readout)
    with torch.no_grad():
        core.parametrizations.weight_hh_l0.original0.mul_(1.5)
    return core, readout


class Dale(nn.Module):
    """Every unit excites or inhibits."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.abs() * torch.tensor([1.0, -1.0]).repeat(N // 2)


def dale(core: Any, readout: Any) -> Pair:
    parametrize.register_parametrization(core, "weight_hh_l0", Dale())
    return core, readout


def spectral(core: Any, readout: Any) -> Pair:
    torch.nn.utils.spectral_norm(core, "weight_hh_l0")
    return core, readout


def tied(core: Any, readout: Any) -> Pair:
    core.bias_hh_l0 = core.bias_ih_l0
    return core, readout


def tied_readout(core: Any, readout: Any) -> Pair:
    wide = nn.Linear(N, len(core.weight_hh_l0), bias=False)
    wide.weight = core.weight_hh_l0
    return core, wide


def frozen(core: Any, readout: Any) -> Pair:
    core.requires_grad_(False)
    return core, readout


def buffered(core: Any, readout: Any) -> Pair:
    """Frozen for good: what were parameters are buffers."""
    for module in (core, readout):
        for name, value in list(module.named_parameters()):
            delattr(module, name)
            module.register_buffer(name, value.detach())
    return core, readout


def compiled(core: Any, readout: Any) -> Pair:
    return torch.compile(core), torch.compile(readout)


def compiled_in_place(core: Any, readout: Any) -> Pair:
    core.compile()
    readout.compile()
    return core, readout


def on_several_devices(core: Any, readout: Any) -> Pair:
    return nn.DataParallel(core), nn.DataParallel(readout)


def averaged(core: Any, readout: Any) -> Pair:
    return AveragedModel(core), readout


def everything(core: Any, readout: Any) -> Pair:
    return torch.compile(nn.DataParallel(pruned(core, readout)[0])), nn.DataParallel(readout)


MAKES: dict[str, Callable[[Any, Any], Pair]] = {
    "plain": lambda core, readout: (core, readout),
    "pruned bias": pruned_bias,
    "pruned": pruned,
    "pruned for good": pruned_for_good,
    "weight_norm": old_norm,
    "parametrizations.weight_norm": new_norm,
    "parametrised": dale,
    "spectral_norm": spectral,
    "tied": tied,
    "tied readout": tied_readout,
    "frozen": frozen,
    "buffered": buffered,
    "compiled": compiled,
    "compiled in place": compiled_in_place,
    "DataParallel": on_several_devices,
    "averaged": averaged,
    "everything": everything,
}


def by_the_module(given: Pair, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """States and outputs of the modules themselves, in evaluation mode (the old spectral norm moves in training)."""
    core, readout = (each.eval() for each in given)
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        states = core(inputs)[0]
        return states, readout(states)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", MAKES)
def test_what_acts_is_what_is_read(make: str, kind: str) -> None:
    given = [MAKES[make](*pair(kind, seed, batch_first=True)) for seed in (0, 1)]
    ensemble = Ensemble.from_modules(given)
    inputs = torch.randn(4, 9, N_IN, generator=torch.Generator().manual_seed(9))
    states, outputs = ensemble.rollout(inputs)
    for k, each in enumerate(given):
        for expected, found in zip(by_the_module(each, inputs), (states[k], outputs[k]), strict=True):
            # float32: 1e-7, which 9 steps of strong weights stretch to 1e-5; a wrong weight leaves 1e-2.
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.abs().max())
    for member in ensemble.members:
        assert 0 < member.provenance["largest_relative_difference"] < 1e-3


@pytest.mark.parametrize("make", MAKES)
def test_the_modules_are_left_as_they_were(make: str) -> None:
    core, readout = MAKES[make](*pair("lstm", bias=True))
    core.train()
    core.register_buffer("counted", torch.zeros(1))
    parts = [*core.modules(), *readout.modules()]
    parts[-1].eval()
    before = [{name: id(value) for name, value in vars(part).items() if name != "training"} for part in parts]
    training = [part.training for part in parts]
    values = [value.clone() for value in (*core.state_dict().values(), *readout.state_dict().values())]
    torch_state, threads = torch.get_rng_state(), torch.get_num_threads()
    Ensemble.from_modules([(core, readout)])
    assert [part.training for part in parts] == training
    after = [{name: id(value) for name, value in vars(part).items() if name != "training"} for part in parts]
    assert after == before
    for value, kept in zip((*core.state_dict().values(), *readout.state_dict().values()), values, strict=True):
        assert torch.equal(value, kept)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert torch.get_num_threads() == threads
    # They go on training: gradients reach every parameter.
    if make == "buffered":  # but for those that have none
        return
    with torch.compiler.set_stance("force_eager"):
        readout(core(torch.ones(5, 2, N_IN))[0]).square().sum().backward()
    for parameter in core.parameters():
        assert parameter.grad is not None or not parameter.requires_grad


def test_a_half_made_graph_is_left_alone() -> None:
    """What a hook has set for the next backward pass is there afterwards, with its gradient."""
    core, readout = old_norm(*pair("gru"))
    loss = readout(core(torch.ones(5, 2, N_IN))[0]).sum()
    weight = core.weight_hh_l0
    Ensemble.from_modules([(core, readout)])
    assert core.weight_hh_l0 is weight
    assert weight.requires_grad
    loss.backward()
    assert core.weight_hh_l0_g.grad.abs().sum() > 0


class Counting(nn.GRU):
    """Counts its calls, remembers its last state, and drops units in training."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.calls, self.seen = 0, []
        self.drop = nn.Dropout(0.5)
        self.register_buffer("last", torch.zeros(N))

    def forward(self, x: Tensor, start: Any = None) -> Any:
        self.calls += 1
        self.seen.append(self.calls)
        torch.rand(3)
        states, end = super().forward(x, start)
        self.last.copy_(end[0, 0])
        return self.drop(states), end


def test_a_subclass_is_read_in_evaluation_mode_and_forgets_it() -> None:
    core, readout = drawn(Counting(N_IN, N), nn.Linear(N, N_OUT))
    state = torch.get_rng_state()
    ensemble = Ensemble.from_modules([(core, readout)])
    assert torch.equal(torch.get_rng_state(), state), "also where its forward draws"
    assert (core.calls, core.seen, core.training, core.drop.training) == (0, [], True, True)
    assert not core.last.any()
    assert ensemble.members[0].provenance["dropout_off"] == [0.5]
    inputs = torch.randn(9, 4, N_IN, generator=torch.Generator().manual_seed(9))
    core.eval()
    expected = core(inputs)[0].detach().transpose(0, 1)
    # float32, 9 steps: rounding, near 1e-6.
    np.testing.assert_allclose(ensemble.rollout(inputs.transpose(0, 1))[0][0], expected, atol=1e-5)


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
    "layers": (lambda: (nn.GRU(N_IN, N, num_layers=2), nn.Linear(N, N_OUT)), "num_layers = 2"),
    "directions": (
        lambda: (nn.GRU(N_IN, N, bidirectional=True), nn.Linear(N, N_OUT)),
        "bidirectional = True",
    ),
    "projection": (lambda: (nn.LSTM(N_IN, N, proj_size=2), nn.Linear(N, N_OUT)), "proj_size = 2"),
    "cell": (lambda: (nn.GRUCell(N_IN, N), nn.Linear(N, N_OUT)), r"is \(GRUCell, Linear\)"),
    "nothing": (lambda: (bare(nn.GRU(N_IN, N)), nn.Linear(N, N_OUT)), "a module without parameters"),
    "wrapped cell": (
        lambda: (nn.DataParallel(nn.GRUCell(N_IN, N)), nn.Linear(N, N_OUT)),
        r"is \(GRUCell, Linear\)",
    ),
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


def test_a_module_alone_is_no_list_of_pairs() -> None:
    with pytest.raises(UserError, match="a list of pairs is needed, got GRU"):
        Ensemble.from_modules(nn.GRU(N_IN, N))  # type: ignore[arg-type]
