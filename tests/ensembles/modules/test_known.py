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
from torch_modules import KINDS, N_IN, N_OUT, Counting, N, Pair, drawn, pair

from degeneracy.ensembles.ensemble import Ensemble


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
