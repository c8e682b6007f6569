"""Parameters of PyTorch, Keras and Flax: the network that they are here does what it does there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn
from torch_modules import KINDS, N_IN, pair

from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.networks import CELLS

# Made by Keras and Flax themselves, by the program beside them.
FIXTURES = Path(__file__).parents[1] / "fixtures"
STORED = sorted(FIXTURES.glob("*.safetensors"))
RUN = ("inputs", "states", "outputs")
# A few roundings of float32, 6e-8 each, stretched by 12 steps; a gate in another's place makes 0.1 and more.
CLOSE = 1e-5


def stored(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters with a leading member axis, and the run."""
    arrays = load_file(path)
    return {n: a for n, a in arrays.items() if n not in RUN}, {n: arrays[n] for n in RUN}


def nested(params: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in params.items():
        *folders, leaf = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = array
    return tree


def of_member(params: dict[str, Any], k: int) -> dict[str, Any]:
    return {name: array[k] for name, array in params.items()}


def test_each_cell_of_both_packages_is_stored() -> None:
    known = {f"{package}_{cell}" for package in ("keras", "flax") for cell in ("tanh", "relu", "gru", "lstm")}
    assert {path.stem for path in STORED} == known


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_stored_network_runs_as_it_did_in_its_package(path: Path) -> None:
    layout, cell = path.stem.split("_")
    params, run = stored(path)
    assert all(np.abs(array).max() > 0.1 for array in params.values()), "biases of zeros could be forgotten"
    ensemble = Ensemble.from_parameters(cell, params, layout=layout)
    assert len(ensemble) == 2
    assert ensemble.network is not None
    assert (ensemble.network.cell, ensemble.network.hidden_size) == (cell, 6)
    assert ensemble.members[0].final["W_rec"].dtype == torch.float32
    states, outputs = ensemble.rollout(run["inputs"])
    np.testing.assert_allclose(states, run["states"], atol=CLOSE, rtol=CLOSE)
    np.testing.assert_allclose(outputs, run["outputs"], atol=CLOSE, rtol=CLOSE)
    assert np.ptp(outputs, axis=(0, 1, 2)).min() > 10 * CLOSE, "they do something"


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_all_forms_of_the_same_parameters_are_the_same_network(path: Path) -> None:
    layout, cell = path.stem.split("_")
    params, _ = stored(path)
    first = Ensemble.from_parameters(cell, params, layout=layout).params()
    tuples = {tuple(name.split("/")): array for name, array in params.items()}
    forms: dict[str, Any] = {
        "one per member": [of_member(params, k) for k in range(2)],
        "nested": nested(params),
        "nested, one per member": [nested(of_member(params, k)) for k in range(2)],
        "tuples": tuples,
        "dots": {name.replace("/", "."): array for name, array in params.items()},
        "of TensorFlow": {f"{name}:0": array for name, array in params.items()},
        "further out": {f"net/inner/{name}": array for name, array in params.items()},
        "without the first part": {name.partition("/")[2]: array for name, array in params.items()},
        "tensors": {name: torch.from_numpy(array) for name, array in params.items()},
    }
    if layout == "keras":  # "gru/kernel" and "dense/kernel" would both become "kernel"
        del forms["without the first part"]
        flat = {name.rpartition("/")[2] if "dense" not in name else name: a for name, a in params.items()}
        forms["the layer's own names"] = flat
    for form, given in forms.items():
        made = Ensemble.from_parameters(cell, given, layout=layout).params()
        assert all(torch.equal(made[name], first[name]) for name in first), form


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_readout_without_biases_has_zeros(path: Path) -> None:
    layout, cell = path.stem.split("_")
    params, run = stored(path)
    ensemble = Ensemble.from_parameters(
        cell, {n: a for n, a in params.items() if n.split("/")[-2:] not in (["dense", "bias"], ["Dense_0", "bias"])},
        layout=layout,
    )  # fmt: skip
    [bias] = [array for name, array in params.items() if "ense" in name and name.endswith("bias")]
    shifted = ensemble.rollout(run["inputs"])[1] + bias[:, None, None]
    np.testing.assert_allclose(shifted, run["outputs"], atol=CLOSE, rtol=CLOSE)


@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_a_layer_of_keras_without_biases_has_zeros(cell: str) -> None:
    params, run = stored(FIXTURES / f"keras_{cell}.safetensors")
    none = {n: a for n, a in params.items() if not n.endswith("cell/bias")}
    zeros = {n: a * 0 if n.endswith("cell/bias") else a for n, a in params.items()}
    made = [Ensemble.from_parameters(cell, each, layout="keras").rollout(run["inputs"])[1] for each in (none, zeros)]
    assert len(none) == len(params) - 1
    assert np.array_equal(*made)


def state_dict(core: Any, readout: Any, *, prefix: str = "", at: str = "readout.") -> dict[str, torch.Tensor]:
    return {
        **{prefix + name: value for name, value in core.state_dict().items()},
        **{at + name: value for name, value in readout.state_dict().items()},
    }


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_dictionary_is_the_network_of_its_modules(kind: str, bias: bool) -> None:
    pairs = [pair(kind, seed, batch_first=True, bias=bias) for seed in range(2)]
    given = [state_dict(*each, prefix="module.rnn.") for each in pairs]
    ensemble = Ensemble.from_parameters(kind, given, layout="torch")
    inputs = np.random.default_rng(0).normal(size=(4, 12, N_IN)).astype(np.float32)
    states, outputs = ensemble.rollout(inputs)
    for k, (core, readout) in enumerate(pairs):
        with torch.no_grad():
            expected = core(torch.from_numpy(inputs))[0]
            np.testing.assert_allclose(states[k], expected, atol=CLOSE, rtol=CLOSE)
            np.testing.assert_allclose(outputs[k], readout(expected), atol=CLOSE, rtol=CLOSE)
    read = Ensemble.from_modules(pairs).params()
    assert all(torch.equal(value, read[name]) for name, value in ensemble.params().items())


CELLS_OF_TORCH: dict[str, Any] = {
    "tanh": lambda: nn.RNNCell(3, 6),
    "relu": lambda: nn.RNNCell(3, 6, nonlinearity="relu"),
    "gru": lambda: nn.GRUCell(3, 6),
    "lstm": lambda: nn.LSTMCell(3, 6),
}


@pytest.mark.parametrize("kind", CELLS_OF_TORCH)
def test_cells_of_torch_are_called_otherwise(kind: str) -> None:
    core, readout = CELLS_OF_TORCH[kind](), nn.Linear(6, 2)
    made = Ensemble.from_parameters(kind, [state_dict(core, readout, at="")], layout="torch").params()
    read = Ensemble.from_modules([(core, readout)]).params()
    assert all(torch.equal(value, read[name]) for name, value in made.items())


def test_states_of_stacked_modules_have_a_leading_member_axis() -> None:
    pairs = [nn.ModuleDict(dict(zip("cr", pair("gru", seed), strict=True))) for seed in range(3)]
    stacked, _ = torch.func.stack_module_state(list(pairs))
    made = Ensemble.from_parameters("gru", stacked, layout="torch")
    read = Ensemble.from_modules([(each["c"], each["r"]) for each in pairs])
    assert len(made) == 3
    assert all(torch.equal(value, read.params()[name]) for name, value in made.params().items())


def test_the_layouts_are_of_the_cells_that_the_packages_have() -> None:
    from degeneracy.ensembles.layouts.members import LAYOUTS

    for reader in LAYOUTS.values():
        assert set(reader.CELLS) == {"tanh", "relu", "gru", "lstm"} <= set(CELLS)
