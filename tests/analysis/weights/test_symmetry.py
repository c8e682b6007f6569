"""A transformed network must be the same network: its outputs are compared, step by step, with the original's."""

import numpy as np
import pytest

from degeneracy.analysis.recording import Weights
from degeneracy.analysis.weights import symmetry
from degeneracy.core.errors import UserError

N, INPUTS, OUTPUTS, STEPS = 7, 3, 2, 12


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def tanh_step(w, state, x):
    h = np.tanh(w.recurrent[0] @ state[0] + w["input"][0] @ x + w["bias"][0].sum(axis=0))
    return (h,)


def relu_step(w, state, x):
    h = np.maximum(w.recurrent[0] @ state[0] + w["input"][0] @ x + w["bias"][0].sum(axis=0), 0)
    return (h,)


def sigmoid_step(w, state, x):
    h = sigmoid(w.recurrent[0] @ state[0] + w["input"][0] @ x + w["bias"][0].sum(axis=0))
    return (h,)


def leaky_current_step(w, state, x):
    # current form: the activation is inside the recurrence, and the readout sees tanh of the state
    c = 0.7 * state[1] + 0.3 * (w.recurrent[0] @ np.tanh(state[1]) + w["input"][0] @ x + w["bias"][0].sum(axis=0))
    return (np.tanh(c), c)


def gru_step(w, state, x):
    (h,) = state
    a, b = (
        w["input"] @ x + w["bias"][:, 0],
        w.recurrent @ h + w["bias"][:, 1],
    )  # torch's: gates r, z, n; bias rows ih, hh
    r, z = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
    return ((1 - z) * np.tanh(a[2] + r * b[2]) + z * h,)


def lstm_step(w, state, x):
    h, c = state
    i, f, g, o = w["input"] @ x + w.recurrent @ h + w["bias"].sum(axis=1)  # torch's order
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return (sigmoid(o) * np.tanh(c), c)


CELLS = {  # cell -> (step, gates, candidate, parts of the state)
    "tanh": (tanh_step, 1, 0, 1),
    "leaky_tanh": (leaky_current_step, 1, 0, 2),
    "relu": (relu_step, 1, 0, 1),
    "gru": (gru_step, 3, 2, 1),
    "lstm": (lstm_step, 4, 2, 2),
    "sigmoid": (sigmoid_step, 1, 0, 1),  # not in the table: the fallback
}


def network(cell, seed=0):
    _, gates, candidate, _ = CELLS[cell]
    rng = np.random.default_rng(seed)
    return Weights.of(
        recurrent=rng.normal(size=(gates, N, N)) / np.sqrt(N),
        input=rng.normal(size=(gates, N, INPUTS)),
        bias=rng.normal(size=(gates, 2, N)),
        readout=rng.normal(size=(OUTPUTS, N)),
        candidate=candidate,
        symmetry={"relu": "scaled_permutation", "sigmoid": "permutation"}.get(cell, "signed_permutation"),
    )


def outputs(cell, w):
    step, _, _, parts = CELLS[cell]
    state = tuple(np.zeros(N) for _ in range(parts))
    out = []
    for x in np.random.default_rng(99).normal(size=(STEPS, INPUTS)):
        state = step(w, state, x)
        out.append(w["readout"] @ state[0])
    return np.array(out)


@pytest.mark.parametrize("cell", CELLS)
def test_a_random_copy_is_the_same_network(cell):
    w = network(cell)
    for seed in range(5):
        copy = symmetry.random_copy(w, np.random.default_rng(seed))
        assert np.abs(copy.recurrent - w.recurrent).max() > 0.1  # written differently indeed
        # 12 contracting steps of sums of 7 numbers of order 1: rounding stays near 1e-15.
        np.testing.assert_allclose(outputs(cell, copy), outputs(cell, w), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", ["tanh", "leaky_tanh", "gru", "lstm"])
def test_the_copies_of_odd_cells_change_signs(cell):
    w = network(cell)
    copy = symmetry.random_copy(w, np.random.default_rng(0))
    candidate = w.candidate
    # A diagonal entry keeps its sign under signs; the readout's columns do not.
    np.testing.assert_allclose(np.sort(np.diag(copy.recurrent[candidate])), np.sort(np.diag(w.recurrent[candidate])))
    assert not np.allclose(np.sort(copy["readout"][0]), np.sort(w["readout"][0]))


@pytest.mark.parametrize("cell", ["relu", "sigmoid"])
def test_signs_are_no_symmetry_of_other_cells(cell):
    w = network(cell)
    flipped = symmetry.transform(w, np.arange(N), np.where(np.arange(N) == 0, -1.0, 1.0))
    assert np.abs(outputs(cell, flipped) - outputs(cell, w)).max() > 1e-2


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm", "sigmoid"])
def test_scales_are_no_symmetry_of_other_cells(cell):
    w = network(cell)
    scaled = symmetry.transform(w, np.arange(N), None, np.linspace(0.5, 2, N))
    assert np.abs(outputs(cell, scaled) - outputs(cell, w)).max() > 1e-2


def test_transform_by_hand():
    # New unit 0 is minus old unit 1, new unit 1 is old unit 0.
    w = Weights.of(
        recurrent=np.array([[[1.0, 2.0], [3.0, 4.0]]]),
        input=np.array([[[5.0], [6.0]]]),
        bias=np.array([[[7.0, 8.0]]]),
        readout=np.array([[9.0, 10.0]]),
    )
    new = symmetry.transform(w, np.array([1, 0]), np.array([-1.0, 1.0]))
    # W' = [[ (-)(-)W11, (-)(+)W10 ], [ (+)(-)W01, W00 ]] = [[4, -3], [-2, 1]]
    np.testing.assert_array_equal(new.recurrent, [[[4, -3], [-2, 1]]])
    np.testing.assert_array_equal(new["input"], [[[-6], [5]]])
    np.testing.assert_array_equal(new["bias"], [[[-8, 7]]])
    np.testing.assert_array_equal(new["readout"], [[-10, 9]])


def test_gates_other_than_the_candidate_keep_their_rows():
    w = network("gru")
    flipped = symmetry.transform(w, np.arange(N), -np.ones(N))
    np.testing.assert_array_equal(flipped.recurrent[:2], -w.recurrent[:2])  # columns only
    np.testing.assert_array_equal(flipped.recurrent[2], w.recurrent[2])  # rows and columns
    np.testing.assert_array_equal(flipped["input"][:2], w["input"][:2])
    np.testing.assert_array_equal(flipped["bias"][2], -w["bias"][2])


def test_absent_blocks_stay_absent():
    bare = Weights.of(recurrent=np.eye(3)[None])
    copy = symmetry.random_copy(bare, np.random.default_rng(0))
    assert set(copy.blocks) == {"recurrent"}


def test_scales_by_hand():
    # One unit: F(d) = (d a)^2 + (b / d)^2 is least at d^2 = b / a = 8 / 2 = 4, d = 2: input 2*2 = 4, readout 8/2 = 4.
    w = Weights.of(
        recurrent=np.array([[[0.5]]]),
        input=np.array([[[2.0]]]),
        readout=np.array([[8.0]]),
        symmetry="scaled_permutation",
    )
    new = symmetry.normalise_scaling(w)
    # Newton's last step leaves a relative error under 1e-12.
    np.testing.assert_allclose(
        [new["input"].item(), new["readout"].item(), new.recurrent.item()], [4, 4, 0.5], rtol=1e-12
    )


@pytest.mark.parametrize("blocks", [(), ("input",), ("readout",), ("bias", "readout"), ("input", "bias", "readout")])
def test_scales_are_normalised_out(blocks):
    w = network("relu").replace(**{b: None for b in ("input", "bias", "readout") if b not in blocks})
    rng = np.random.default_rng(1)
    copy = symmetry.transform(w, np.arange(N), None, np.exp(rng.normal(scale=1.5, size=N)))
    new, canonical = symmetry.normalise_scaling(copy), symmetry.normalise_scaling(w)
    for block in ("recurrent", *blocks):
        # Scales span e^6: 1e-11 is what Newton's quadratic end leaves of it.
        np.testing.assert_allclose(new[block], canonical[block], rtol=1e-9, atol=1e-11)


def test_normalised_scales_balance_in_and_out_and_keep_the_network():
    w = network("relu")
    new = symmetry.normalise_scaling(symmetry.random_copy(w, np.random.default_rng(3)))
    square = new.recurrent[0] ** 2 * (1 - np.eye(N))
    into = square.sum(axis=1) + (new["input"][0] ** 2).sum(axis=1) + (new["bias"][0] ** 2).sum(axis=0)
    out = square.sum(axis=0) + (new["readout"] ** 2).sum(axis=0)
    np.testing.assert_allclose(into, out, rtol=1e-10)  # the stationarity condition, by an independent formula
    np.testing.assert_allclose(
        outputs("relu", symmetry.normalise_scaling(w)), outputs("relu", w), rtol=1e-10, atol=1e-12
    )


def test_scales_that_cannot_be_normalised_are_named():
    w = network("relu")
    dead = w.recurrent.copy()
    dead[0, 2, :] = 0  # nothing comes in from other units
    lone = w.replace(
        recurrent=dead, input=w["input"] * (np.arange(N) != 2)[:, None], bias=w["bias"] * (np.arange(N) != 2)
    )
    assert symmetry.scaling_obstacle(w) == ""
    assert "no weights in" in symmetry.scaling_obstacle(lone)
    with pytest.raises(UserError, match="cannot be normalised"):
        symmetry.normalise_scaling(lone)


def test_an_unknown_symmetry_names_the_closest():
    with pytest.raises(UserError, match="did you mean 'signed_permutation'"):
        symmetry.symmetry_of(Weights.of(recurrent=np.eye(2)[None], symmetry="signd_permutation"))


@pytest.mark.parametrize("exponent", [-400, 400])
def test_weights_from_the_outside_alone_have_norm_1_at_any_size(exponent):
    w = network("relu").replace(readout=None)
    canonical = symmetry.normalise_scaling(w)
    blocks = ("recurrent", "input", "bias")
    large = w.replace(**{name: np.ldexp(w[name], exponent) for name in blocks})
    new = symmetry.normalise_scaling(large)
    # Rounding of Newton's last step.
    np.testing.assert_allclose(np.ldexp(new.recurrent, -exponent), canonical.recurrent, rtol=1e-10)
    for name in ("input", "bias"):
        np.testing.assert_allclose(new[name], canonical[name], rtol=1e-10)
