"""What are no parameters of such networks: refused in one line that says what was there and what is needed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from torch import nn
from torch_modules import pair

from degeneracy.core.errors import UserError
from degeneracy.ensembles.ensemble import Ensemble

FIXTURES = Path(__file__).parents[1] / "fixtures"
Arrays = dict[str, Any]


def member(layout: str, cell: str) -> Arrays:
    """The parameters of one network."""
    if layout == "torch":
        core, readout = pair(cell)
        both = {**{f"rnn.{n}": v for n, v in core.state_dict().items()}, "out.weight": readout.weight}
        return {n: v.detach().numpy().copy() for n, v in {**both, "out.bias": readout.bias}.items()}
    arrays = load_file(FIXTURES / f"{layout}_{cell}.safetensors")
    return {n: a[0] for n, a in arrays.items() if n not in ("inputs", "states", "outputs")}


def plain(**changed: Any) -> Arrays:
    arrays = {"W_rec": np.eye(6), "W_in": np.ones((6, 3)), "bias": np.zeros(6), "W_out": np.ones((2, 6))}
    return arrays | {"b_out": np.zeros(2)} | changed


def gru_plain(**changed: Any) -> Arrays:
    arrays = {"W_rec": np.ones((3, 6, 6)), "W_in": np.ones((3, 6, 3)), "bias": np.zeros(18), "bias_rec": np.zeros(18)}
    return arrays | {"W_out": np.ones((2, 6)), "b_out": np.zeros(2)} | changed


def without(arrays: Arrays, *ends: str) -> Arrays:
    return {name: value for name, value in arrays.items() if not name.endswith(ends)}


def transposed(arrays: Arrays, end: str) -> Arrays:
    return {name: value.T if name.endswith(end) else value for name, value in arrays.items()}


def under(prefix: str, arrays: Arrays) -> Arrays:
    return {prefix + name: value for name, value in arrays.items()}


def stacked_modules() -> Arrays:
    return {n: v.detach().numpy() for n, v in nn.GRU(3, 6, num_layers=2).state_dict().items()}


def bidirectional() -> Arrays:
    return {n: v.detach().numpy() for n, v in nn.GRU(3, 6, bidirectional=True).state_dict().items()}


def projected() -> Arrays:
    return {n: v.detach().numpy() for n, v in nn.LSTM(3, 6, proj_size=2).state_dict().items()}


MISTAKES: list[tuple[str, str, str | None, Callable[[], Any], str]] = [
    ("no list", "tanh", None, lambda: 3, "a list of dictionaries, one per member, is needed, not int"),
    ("none", "tanh", None, list, "no parameters given"),
    ("an empty dictionary", "tanh", None, lambda: [{}], "member 0: no arrays given"),
    ("a list of weights", "gru", "keras", lambda: [[np.ones(3)]], "member 0: a dictionary of arrays by their names"),
    ("a number for a name", "tanh", None, lambda: [{0: np.ones(3)}], "member 0: 0 is no name of an array"),
    ("one network alone", "tanh", None, plain, "'W_rec' has 6 members, 'W_out' 2; of networks apart give a list"),
    ("no layout", "tanh", "jax", lambda: [plain()], "unknown layout 'jax'"),
    ("text", "tanh", None, lambda: [plain(bias="none")], "member 0: 'bias': numbers are needed"),
    ("not finite", "tanh", None, lambda: [plain(), plain(bias=np.full(6, np.nan))], "member 1: 'bias' holds values"),
    ("unknown", "tanh", None, lambda: [plain(W_reg=np.eye(6))], "unknown parameter of cell 'tanh' 'W_reg'; did you"),
    ("missing", "tanh", None, lambda: [without(plain(), "bias")], "of cell 'tanh' bias is missing.* zeros for biases"),
    (
        "another rank",
        "tanh",
        None,
        lambda: [plain(bias=np.zeros((6, 1)))],
        r"'bias' has shape \(6, 1\); needed is \(un",
    ),
    ("sizes", "tanh", None, lambda: [plain(W_in=np.ones((5, 3)))], r"'W_in' has shape \(5, 3\); needed is \(6, 3\)"),
    (
        "readout",
        "tanh",
        None,
        lambda: [plain(W_out=np.ones((2, 5)))],
        r"'W_out' has shape \(2, 5\); needed is \(2, 6\)",
    ),
    ("no inputs", "tanh", None, lambda: [plain(W_in=np.ones((6, 0)))], "no network has 0 of 'in', 6 of 'unit'"),
    ("two gates", "gru", None, lambda: [gru_plain(W_in=np.ones((2, 6, 3)))], r"'W_in' .* needed is \(unit, in\), or"),
    ("rows", "gru", None, lambda: [gru_plain(W_in=np.ones((12, 3)))], r"needed is \(18, 3\) or \(3, 6, 3\)"),
    ("another cell", "lstm", None, lambda: [gru_plain()], r"'W_rec' has shape \(3, 6, 6\); .* with 4 gates"),
    ("no such cell", "leaky", None, lambda: [plain()], "unknown cell 'leaky'"),
    (
        "no torch cell",
        "min_gru",
        "torch",
        lambda: [plain()],
        "'torch' is of the cells tanh, relu, gru, lstm, not of 'm",
    ),
    ("no recurrent layer", "gru", "torch", lambda: [{"weight": np.eye(3)}], "no recurrent layer .weight_ih, weight_hh"),
    ("no readout", "gru", "torch", lambda: [without(member("torch", "gru"), "out.weight", "out.bias")], "no readout"),
    ("half a readout", "gru", "torch", lambda: [without(member("torch", "gru"), "out.weight")], "readout lacks weight"),
    ("half the biases", "gru", "torch", lambda: [without(member("torch", "gru"), "bias_hh_l0")], "lacks bias_hh"),
    (
        "transposed",
        "gru",
        "torch",
        lambda: [transposed(member("torch", "gru"), "_ih_l0")],
        r"needed is \(18, 18\)|\(18",
    ),
    (
        "gates of another",
        "lstm",
        "torch",
        lambda: [member("torch", "gru")],
        r"'rnn.weight_hh_l0' .* needed is \(24, 6\)",
    ),
    ("layers", "gru", "torch", lambda: [member("torch", "gru") | under("rnn.", stacked_modules())], "further layer"),
    (
        "directions",
        "gru",
        "torch",
        lambda: [member("torch", "gru") | under("rnn.", bidirectional())],
        "other direction",
    ),
    ("a projection", "lstm", "torch", lambda: [under("rnn.", projected())], "a projection"),
    (
        "two cores",
        "gru",
        "torch",
        lambda: [member("torch", "gru") | under("b.", member("torch", "gru"))],
        "'rnn', 'b.rn",
    ),
    ("two readouts", "gru", "torch", lambda: [member("torch", "gru") | {"mlp.2.weight": np.eye(2)}], "'out', 'mlp/2'"),
    ("a mask", "gru", "torch", lambda: [member("torch", "gru") | {"rnn.mask": np.eye(6)}], "unknown: 'rnn.mask'"),
    (
        "both names",
        "gru",
        "torch",
        lambda: [member("torch", "gru") | {"rnn.weight_hh": np.ones((18, 6))}],
        "'rnn.weight_hh_l0' and 'rnn.weight_hh' both stand for weight_hh",
    ),
    (
        "reset before",
        "gru",
        "keras",
        lambda: [member("keras", "gru") | {"gru/gru_cell/bias": np.zeros(18)}],
        r"'gru/gru_cell/bias' of shape \(18,\) is of a Keras GRU with reset_after=False, which is another cell",
    ),
    (
        "reset unknown",
        "gru",
        "keras",
        lambda: [without(member("keras", "gru"), "cell/bias")],
        r"does not say whether it has reset_after; if so, give a 'bias' of zeros \(2, 18\)",
    ),
    ("a torch kernel", "lstm", "keras", lambda: [transposed(member("keras", "lstm"), "cell/kernel")], r"\(24, 24\)"),
    ("a torch readout", "lstm", "keras", lambda: [transposed(member("keras", "lstm"), "dense/kernel")], r"\(6, 6\)"),
    ("a GRU's kernels", "lstm", "keras", lambda: [member("keras", "gru")], r"recurrent_kernel' .* needed is \(6, 24\)"),
    (
        "two directions",
        "gru",
        "keras",
        lambda: [without(under("f/", member("keras", "gru")), "dense/x") | under("b/", member("keras", "gru"))],
        "2 layers could be the recurrent layer, those under 'f/gru/gru_cell', 'b/gru/gru_cell'",
    ),
    ("no Dense", "gru", "keras", lambda: [without(member("keras", "gru"), "dense/kernel", "dense/bias")], "no readout"),
    ("an LSTM", "gru", "flax", lambda: [member("flax", "lstm")], "no recurrent layer .ir/kernel, ir/bias, iz/kernel"),
    (
        "no gate",
        "gru",
        "flax",
        lambda: [without(member("flax", "gru"), "iz/kernel")],
        "the recurrent layer lacks iz/ke",
    ),
    (
        "no bias",
        "gru",
        "flax",
        lambda: [without(member("flax", "gru"), "hn/bias")],
        "the recurrent layer lacks hn/bias",
    ),
    ("an MGU", "gru", "flax", lambda: [without(member("flax", "gru"), "r/kernel", "r/bias")], "lacks ir/kernel"),
    (
        "a bias too many",
        "gru",
        "flax",
        lambda: [member("flax", "gru") | {"params/cell/hr/bias": np.zeros(6)}],
        "unknown: 'params/cell/hr/bias'",
    ),
    (
        "a gate's kernel",
        "lstm",
        "flax",
        lambda: [transposed(member("flax", "lstm"), "if/kernel")],
        r"if/kernel' .*\(3, 6",
    ),
    (
        "two cells",
        "tanh",
        "flax",
        lambda: [member("flax", "tanh") | under("b/", member("flax", "tanh"))],
        "2 layers could be the recurrent layer",
    ),
]


@pytest.mark.parametrize(
    ("cell", "layout", "given", "message"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES]
)
def test_one_line_says_what_is_wrong(cell: str, layout: str | None, given: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Ensemble.from_parameters(cell, given(), layout=layout)
    said = str(caught.value)
    assert re.search(message, said), said
    assert "\n" not in said


def test_what_they_are_mistakes_of_is_taken() -> None:
    Ensemble.from_parameters("tanh", [plain()])
    Ensemble.from_parameters("gru", [gru_plain()])
    for layout in ("torch", "keras", "flax"):
        for cell in ("tanh", "relu", "gru", "lstm"):
            Ensemble.from_parameters(cell, [member(layout, cell)], layout=layout)


def test_of_a_leading_member_axis_names_and_shapes_are_looked_at_too() -> None:
    stacked = {name: np.stack([value, value]) for name, value in plain().items()}
    Ensemble.from_parameters("tanh", stacked)
    with pytest.raises(UserError, match=r"member 0: 'W_in' has shape \(5, 3\)"):
        Ensemble.from_parameters("tanh", stacked | {"W_in": np.ones((2, 5, 3))})
    with pytest.raises(UserError, match="'W_rec' has 2 members, 'b_out' 0"):
        Ensemble.from_parameters("tanh", stacked | {"b_out": 0.0})
    with pytest.raises(UserError, match="'a/b' is there twice"):
        Ensemble.from_parameters("tanh", {"a/b": np.ones(2), "a": {"b": np.ones(2)}})


def test_initial_ones_have_to_be_of_the_same_networks() -> None:
    with pytest.raises(UserError, match="1 members trained and 2 before"):
        Ensemble.from_parameters("tanh", [plain()], initial=[plain(), plain()])
    smaller = {"W_rec": np.eye(5), "W_in": np.ones((5, 3)), "bias": np.zeros(5), "W_out": np.ones((2, 5))}
    with pytest.raises(UserError, match=r"member 0 has another size trained than before training .of W_rec, W_in"):
        Ensemble.from_parameters("tanh", [plain()], initial=[smaller | {"b_out": np.zeros(2)}])
    with pytest.raises(UserError, match=r"member 0 before training: .* bias is missing"):
        Ensemble.from_parameters("tanh", [plain()], initial=[without(plain(), "bias")])
    with pytest.raises(UserError, match="one per member, is needed, not str"):
        Ensemble.from_parameters("tanh", [plain()], initial="none")


def test_the_cell_and_its_options() -> None:
    from degeneracy.networks.pointwise import LeakyTanhCell

    with pytest.raises(UserError, match="set them in the cell itself"):
        Ensemble.from_parameters(LeakyTanhCell(), [plain()], cell_options={"dt_ms": 1.0})
    with pytest.raises(UserError, match="a table of the cell's fields is needed"):
        Ensemble.from_parameters("leaky_tanh", [plain()], cell_options=3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="dt"):
        Ensemble.from_parameters("tanh", [plain()], cell_options={"dt": 1.0})
    with pytest.raises(UserError, match="cell = 3 is wrong"):
        Ensemble.from_parameters(3, [plain()])  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"unknown layout .*did you mean 'keras'"):
        Ensemble.from_parameters("gru", [plain()], layout=["keras"])  # type: ignore[arg-type]
