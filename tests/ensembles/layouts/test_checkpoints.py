"""State dictionaries from files: of whatever makes them, and nothing in them is run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch_modules import N_IN, pair

from degeneracy.core.errors import UserError
from degeneracy.ensembles.ensemble import Ensemble

State = dict[str, Any]


class Net(nn.Module):
    """A network as people write them."""

    def __init__(self, seed: int = 0, kind: str = "gru") -> None:
        super().__init__()
        self.rnn, self.head = pair(kind, seed, batch_first=True)


def saved(path: Path, content: Any) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path)
    return path


def is_of(made: Ensemble, *nets: Net) -> None:
    """What the files' networks do is what the modules do."""
    inputs = np.random.default_rng(0).normal(size=(3, 8, N_IN)).astype(np.float32)
    outputs = made.rollout(inputs)[1]
    assert len(outputs) == len(nets)
    for net, output in zip(nets, outputs, strict=True):
        with torch.no_grad():  # a few roundings of float32 through 8 steps
            np.testing.assert_allclose(output, net.head(net.rnn(torch.from_numpy(inputs))[0]), atol=1e-5)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".ckpt", ".bin"])
def test_one_file_per_member(suffix: str, tmp_path: Path) -> None:
    nets = [Net(0), Net(1)]
    paths = [saved(tmp_path / f"{k}{suffix}", net.state_dict()) for k, net in enumerate(nets)]
    made = Ensemble.from_state_dicts("gru", paths)
    is_of(made, *nets)
    assert made.members[1].provenance == {"layout": "torch", "file": str(paths[1])}
    is_of(Ensemble.from_state_dicts("gru", [str(path) for path in paths]), *nets)


def test_files_of_the_older_form_of_torch(tmp_path: Path) -> None:
    torch.save(Net().state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    is_of(Ensemble.from_state_dicts("gru", [tmp_path / "old.pt"]), Net())


@pytest.mark.parametrize("entry", ["state_dict", "model_state_dict", "model"])
def test_a_checkpoint_with_one_state_dictionary(entry: str, tmp_path: Path) -> None:
    net = Net()
    optimiser = torch.optim.Adam(net.parameters())
    net.head(net.rnn(torch.ones(2, 3, N_IN))[0]).sum().backward()
    before = Net()
    optimiser.step()
    content = {entry: net.state_dict(), "optimizer_state_dict": optimiser.state_dict(), "epoch": 3, "loss": 0.1}
    path = saved(tmp_path / "a.pt", content)
    initial = saved(tmp_path / "b.pt", {**before.state_dict(), "epoch": 0})
    made = Ensemble.from_state_dicts("gru", [path], initial=[initial])
    is_of(made, net)
    is_of(made.at(0), before)
    assert not torch.equal(made.params()["W_rec"], made.params(initial=True)["W_rec"])


NAMES = {
    **{f"{what}_{of}_l0": f"rnn.{what}_{of}_l0" for what in ("weight", "bias") for of in ("ih", "hh")},
    "weight": "head.weight",
    "bias": "head.bias",
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_names_say_what_is_read_and_nothing_else_is(suffix: str, tmp_path: Path) -> None:
    net = Net()
    content = {**net.state_dict(), "critic.weight": torch.ones(1, 6), "critic.bias": torch.zeros(1)}
    path = saved(tmp_path / f"a{suffix}", content)
    with pytest.raises(UserError, match=r"2 layers could be the readout, .* 'critic'.* names= says which"):
        Ensemble.from_state_dicts("gru", [path])
    is_of(Ensemble.from_state_dicts("gru", [path], names=NAMES), net)
    critic = Ensemble.from_state_dicts("gru", [path], names=NAMES | {"weight": "critic.weight", "bias": "critic.bias"})
    assert critic.weights()["W_out"].shape == (1, 1, 6)
    with pytest.raises(UserError, match=r"a\.\w+: unknown array 'rnn.bias_hh'; did you mean 'rnn.bias_hh_l0'"):
        Ensemble.from_state_dicts("gru", [path], names=NAMES | {"bias_hh_l0": "rnn.bias_hh"})
    fewer = {name: called for name, called in NAMES.items() if name != "bias_hh_l0"}
    with pytest.raises(UserError, match=r"member 0 \(.*\): the recurrent layer lacks bias_hh"):
        Ensemble.from_state_dicts("gru", [path], names=fewer)


def test_of_several_state_dictionaries_names_choose(tmp_path: Path) -> None:
    student, teacher = Net(0), Net(1)
    path = saved(tmp_path / "a.pt", {"student": student.state_dict(), "teacher": {"net": teacher.state_dict()}})
    is_of(Ensemble.from_state_dicts("gru", [path]), student)  # the only one that is not further in
    both = {"student": student.state_dict(), "teacher": teacher.state_dict()}
    path = saved(tmp_path / "b.pt", both)
    with pytest.raises(UserError, match=r"b\.pt: .* several entries \('student', 'teacher'\); say with names="):
        Ensemble.from_state_dicts("gru", [path])
    chosen = {name: f"teacher.{called}" for name, called in NAMES.items()}
    is_of(Ensemble.from_state_dicts("gru", [path], names=chosen), teacher)


def test_a_dictionary_that_holds_itself_ends(tmp_path: Path) -> None:
    content: State = dict(Net().state_dict())
    content["again"] = content
    path = saved(tmp_path / "a.pt", content)
    with pytest.raises(UserError, match=r"a\.pt: it holds no state dictionary alone but several entries .'again'."):
        Ensemble.from_state_dicts("gru", [path])
    is_of(Ensemble.from_state_dicts("gru", [path], names=NAMES), Net())


def test_parameters_of_other_cells_and_layouts_by_their_names(tmp_path: Path) -> None:
    net = Net(kind="tanh")
    content = {f"core.{name}": value for name, value in net.rnn.state_dict().items()}
    content["core.bias"] = content["core.bias_ih_l0"] + content["core.bias_hh_l0"]
    content |= {f"head.{name}": value for name, value in net.head.state_dict().items()}
    path = saved(tmp_path / "a.safetensors", content)
    names = {"W_rec": "core.weight_hh_l0", "W_in": "core.weight_ih_l0", "bias": "core.bias"}
    names |= {"W_out": "head.weight", "b_out": "head.bias"}
    is_of(Ensemble.from_state_dicts("tanh", [path], names=names, layout=None), net)
    options = {"dt_ms": 10.0, "tau_ms": 10.0, "form": "rate"}  # of a leak of 1, which is tanh
    is_of(Ensemble.from_state_dicts("leaky_tanh", [path], names=names, layout=None, cell_options=options), net)


RAN: list[int] = []


class Runs:
    """What an unsafe reader would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return RAN.append, (1,)


def damaged(path: Path) -> Path:
    data = saved(path, Net().state_dict()).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


FOREIGN: list[tuple[str, Callable[[Path], Any], str]] = [
    ("none", lambda _: [], "no files given"),
    ("one path", lambda _: "a.pt", "a list of paths is needed, one per member, not str a.pt"),
    ("missing", lambda folder: [folder / "no.pt"], r"cannot read .*no\.pt: no such file"),
    ("a folder", lambda folder: [(folder / "a.pt").mkdir() or folder / "a.pt"], r"a\.pt: it is a folder"),
    ("a suffix", lambda folder: [written(folder / "a.npz", b"")], r"a\.npz: unknown kind of file; known are .safe"),
    ("half a zip", lambda folder: [damaged(folder / "a.pt")], r"cannot read .*a\.pt: damaged, or"),
    ("half", lambda folder: [damaged(folder / "a.safetensors")], r"cannot read .*a\.safetensors: damaged or not"),
    ("empty", lambda folder: [written(folder / "a.pt", b"")], r"a\.pt: damaged, or"),
    ("text", lambda folder: [written(folder / "a.safetensors", b"weights" * 9)], r"a\.safetensors: damaged or not"),
    (
        "a module",
        lambda folder: [saved(folder / "a.pt", nn.Linear(2, 2))],
        "more than tensors and plain values; save m",
    ),
    ("code", lambda folder: [saved(folder / "a.pt", {"a": Runs()})], "more than tensors and plain values; save module"),
    ("a tensor", lambda folder: [saved(folder / "a.pt", torch.ones(3))], "it holds no tensors by their names .Tensor."),
    ("numbers", lambda folder: [saved(folder / "a.pt", {"a": 1})], "it holds no state dictionary alone; say with nam"),
    ("of another", lambda folder: [saved(folder / "a.pt", Net(kind="lstm").state_dict())], r"member 0 \(.*a\.pt\): 'r"),
]


@pytest.mark.parametrize(("given", "message"), [row[1:] for row in FOREIGN], ids=[row[0] for row in FOREIGN])
def test_damaged_and_foreign_files(given: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    paths = given(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        Ensemble.from_state_dicts("gru", paths)
    assert "\n" not in str(caught.value)
    assert RAN == []


def test_of_networks_before_training_the_file_is_named_too(tmp_path: Path) -> None:
    trained = saved(tmp_path / "trained.pt", Net().state_dict())
    wrong = saved(tmp_path / "before.pt", Net(kind="tanh").state_dict())
    with pytest.raises(UserError, match=r"member 0 before training \(.*before\.pt\): 'rnn.weight_hh_l0' has shape"):
        Ensemble.from_state_dicts("gru", [trained], initial=[wrong])
    with pytest.raises(UserError, match="1 members trained and 2 before"):
        Ensemble.from_state_dicts("gru", [trained], initial=[trained, trained])
    with pytest.raises(UserError, match="names = 3 is wrong"):
        Ensemble.from_state_dicts("gru", [trained], names=3)  # type: ignore[arg-type]
