"""Units that do nothing: which they are, that they are left out of distances, and what is said of it."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from degeneracy.analysis import MEASURES, Finding, Measured, Recording
from degeneracy.analysis.recording import Block, Weights
from degeneracy.analysis.weights.dead_units import compared_weights, dead_units, still_units, without_units
from degeneracy.analysis.weights.pif import align, shuffled
from degeneracy.analysis.weights.symmetry import normalise_scaling, random_copy, scaling_obstacle, transform
from degeneracy.checks import example_recording

WEIGHTS = ("pif", "signed_pif", "orthogonal")


def network(n: int, seed: int = 0, gates: int = 1, **rest) -> Weights:
    rng = np.random.default_rng(seed)
    return Weights.of(
        recurrent=rng.normal(size=(gates, n, n)),
        input=rng.normal(size=(gates, n, 2)),
        bias=rng.normal(size=(gates, 1, n)),
        readout=rng.normal(size=(2, n)),
        candidate=gates - 1,
        **rest,
    )


def moving(n: int, seed: int = 0) -> np.ndarray:
    return np.tanh(np.random.default_rng(seed).normal(size=(3, 7, n)))


def enlarged(weights: Weights, states: np.ndarray, n_more: int, seed: int, *, read: bool) -> tuple[Weights, np.ndarray]:
    """The same network with units that make no difference: still ones with any weights, or unread ones that move."""
    rng, n = np.random.default_rng(seed), weights.n_units

    def with_more(block: Block) -> np.ndarray:
        sizes = [(0, n_more if axis in ("unit", "pre") else 0) for axis in block.axes]
        array = np.pad(block.array, sizes)
        new = np.ones(array.shape, dtype=bool)
        new[tuple(slice(0, size) for size in block.array.shape)] = False
        if not read and "pre" in block.axes:  # nothing out of the new units, whatever goes into them
            new[..., n:] = False
        array[new] = rng.normal(size=int(new.sum()))
        return array

    more = np.full((*states.shape[:2], n_more), 0.7) if read else rng.normal(size=(*states.shape[:2], n_more))
    larger = weights.replace(**{name: with_more(block) for name, block in weights.blocks.items()})
    order = rng.permutation(n + n_more)
    return transform(larger, order), np.concatenate([states, more], axis=-1)[..., order]


def measured(name: str, weights, states=None, **rest) -> Measured:
    labels = tuple(f"m{k}" for k in range(len(weights)))
    return MEASURES[name]()(Recording(members=labels, weights=weights, states=states, **rest))


def row(found: Measured, variant: str) -> Finding:
    return next(finding for finding in found.findings if finding.variant == variant)


def test_still_units_by_hand() -> None:
    """Ranges 0, 0.0009 of 1 and 0.0011 of 1; then a unit that moves on one trial alone, and one that is not finite."""
    x = np.zeros((2, 2, 6))
    x[..., 1] = [[1.0, 0.9991], [1.0, 1.0]]
    x[..., 2] = [[1.0, 0.9989], [1.0, 1.0]]
    x[..., 3] = [[0.0, 0.0], [0.0, 1e-9]]
    x[..., 4] = [[0.0, np.nan], [0.0, 0.0]]
    x[..., 5] = -1.0
    for size in (1.0, -3.0, 1e300, 1e-300):
        assert still_units(size * x).tolist() == [True, True, False, False, False, True]


def test_unread_units_by_hand() -> None:
    """0 and 5 are read out; 1 is read by 0, 2 by itself alone, 3 by 2 alone, and 4 by 5 alone, which comes to rest."""
    recurrent = np.zeros((1, 6, 6))
    for reader, read in ((0, 1), (2, 2), (2, 3), (5, 4)):
        recurrent[0, reader, read] = 0.5
    weights = Weights.of(recurrent=recurrent, readout=np.array([[1.0, 0, 0, 0, 0, 1.0]]))
    states = moving(6)
    assert dead_units(weights, states).tolist() == [False, False, True, True, False, False]
    states[..., 5] = 1.0
    assert dead_units(weights, states).tolist() == [False, False, True, True, True, True]
    assert dead_units(weights, None).tolist() == [False, False, True, True, False, False]
    alone = weights.replace(readout=None)
    assert not dead_units(alone, None).any(), "who is read out is not known"
    assert dead_units(alone, states).tolist() == [False] * 5 + [True]


def test_one_gate_that_reads_a_unit_is_enough() -> None:
    w = network(4, gates=3)
    recurrent, readout = w["recurrent"].copy(), w["readout"].copy()
    recurrent[..., 2] = 0.0
    readout[:, 2] = 0.0
    assert dead_units(w.replace(recurrent=recurrent, readout=readout), moving(4)).tolist() == [
        False,
        False,
        True,
        False,
    ]
    recurrent[1, 0, 2] = 0.1
    assert not dead_units(w.replace(recurrent=recurrent, readout=readout), moving(4)).any()


@pytest.mark.parametrize("symmetry", ["signed_permutation", "scaled_permutation"])
@pytest.mark.parametrize("read", [True, False])
def test_the_same_units_are_dead_in_a_copy(symmetry: str, read: bool) -> None:
    w, x = enlarged(network(6, symmetry=symmetry), moving(6), 2, 1, read=read)
    dead = dead_units(w, x)
    assert dead.sum() == 2
    order, factors = np.random.default_rng(2).permutation(8), np.array([4.0, 0.01, 1, 2, 3, 100, 1, 7])
    signs = np.array([1.0, -1, 1, -1, -1, 1, 1, 1]) if symmetry == "signed_permutation" else np.ones(8)
    copy = transform(w, order, signs, factors)
    np.testing.assert_array_equal(dead_units(copy, signs * factors * x[..., order]), dead[order])


@pytest.mark.parametrize("gates", [1, 3])
@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("name", WEIGHTS)
def test_networks_that_differ_in_dead_units_alone_are_the_same(name: str, gates: int, read: bool) -> None:
    w, x = network(6, gates=gates), moving(6)
    (a, of_a), (b, of_b) = (enlarged(w, x, 2, seed, read=read) for seed in (1, 2))
    found = measured(name, [a, b], [of_a, of_b])
    assert dict.fromkeys(found.distances) == dict.fromkeys(f.variant for f in found.findings)
    for variant, matrix in found.distances.items():
        assert matrix[0, 1] < 1e-6, variant  # float64's rounding and its root
        assert "dead units left out: 2 of member m0, 2 of member m1" in row(found, variant).note
    if read:  # which units are still is in the states alone
        blind = measured(name, [a, b])
        assert blind.distances["recurrent"][0, 1] > 0.5
        assert "dead" not in row(blind, "recurrent").note


def test_a_unit_without_counterpart_counts_in_full() -> None:
    """Of 3 units one is dead in x: the best of the 6 orders of y leaves the weights of the one that is over."""
    x, y = network(3, 1), network(3, 2)
    states = [moving(3), moving(3)]
    states[0][..., 1] = 0.25
    found = measured("pif", [x, y], states)
    a = x["recurrent"][0].copy()
    a[1], a[:, 1] = 0.0, 0.0
    b = y["recurrent"][0]
    best = min(np.linalg.norm(a - b[np.ix_(p, p)]) for p in (list(p) for p in permutations(range(3))))
    assert found.distances["recurrent"][0, 1] == pytest.approx(best, rel=1e-12)
    # The larger of the two has 3 x 3 weights; floors are of copies: 2 x 2 and 3 x 3.
    assert found.distances["recurrent/per_parameter"][0, 1] == pytest.approx(best / 9, rel=1e-12)
    size = np.sqrt((np.sum(a**2) + np.sum(b**2)) / 2)
    assert found.distances["recurrent/relative"][0, 1] == pytest.approx(best / size, rel=1e-12)
    assert row(found, "recurrent").note == "dead unit left out: 1 of member m0"
    both = measured("pif", [x, x.replace(recurrent=2 * x["recurrent"])], [states[0], states[0]])
    assert both.distances["recurrent/per_parameter"][0, 1] == both.distances["recurrent"][0, 1] / 4


def test_distances_over_members_of_several_living_units_keep_the_triangle_inequality() -> None:
    """Exactly, as 4 units are matched to the end: of 4, 3, 2 and 4 living ones."""
    weights, states = [network(4, seed) for seed in range(4)], [moving(4, seed) for seed in range(4)]
    for k, n_dead in ((1, 1), (2, 2)):
        states[k][..., :n_dead] = 1.0
    matrix = measured("pif", weights, states).distances["recurrent"]
    assert np.all(matrix <= (matrix[:, :, None] + matrix[None]).min(1) + 1e-9)
    assert matrix[np.triu_indices(4, 1)].min() > 0.5


def test_shuffled_weights_stay_among_living_units() -> None:
    w = without_units(network(5), np.array([False, True, False, False, True]))
    mixed = shuffled(w, np.random.default_rng(0))
    for name, block in w.blocks.items():
        assert not np.array_equal(mixed[name], block.array)
        np.testing.assert_array_equal(np.sort(mixed[name], axis=None), np.sort(block.array, axis=None))
        for place, axis in enumerate(block.axes):
            if axis in ("unit", "pre"):
                assert not np.take(mixed[name], [1, 4], axis=place).any()
    # As a network of the 3 living units alone, whose shuffled weights these are.
    assert np.count_nonzero(mixed["recurrent"]) == 9


def test_a_rectified_unit_that_reaches_nothing_no_longer_forbids_a_number() -> None:
    """Its scale could grow without end; without it the others' have one."""
    w = network(5, symmetry="scaled_permutation")
    recurrent, readout = w["recurrent"].copy(), w["readout"].copy()
    recurrent[..., 3], readout[:, 3] = 0.0, 0.0
    w = w.replace(recurrent=recurrent, readout=readout)
    assert "cannot be normalised" in scaling_obstacle(w)
    found = measured("pif", [w, random_copy(w, np.random.default_rng(1))])
    for variant, matrix in found.distances.items():
        assert matrix[0, 1] < 1e-6, variant
    left = without_units(w, np.arange(5) == 3)
    assert scaling_obstacle(left) == ""
    living = [0, 1, 2, 4]
    smaller = Weights.of(
        recurrent=w["recurrent"][:, living][:, :, living],
        input=w["input"][:, living],
        bias=w["bias"][..., living],
        readout=w["readout"][:, living],
        symmetry=w.symmetry,
    )
    ours, theirs = normalise_scaling(left)["recurrent"], normalise_scaling(smaller)["recurrent"]
    np.testing.assert_array_equal(ours[:, living][:, :, living], theirs)
    nothing = without_units(w, np.ones(5, dtype=bool))
    assert not any(block.array.any() for block in normalise_scaling(nothing).blocks.values())


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_member_without_a_living_unit_has_no_number(name: str) -> None:
    states = [moving(5, seed) for seed in range(3)]
    states[1] = np.zeros_like(states[1])
    weights = [network(5, seed) for seed in range(3)]
    found, whole = measured(name, weights, states), measured(name, weights)
    assert [finding.variant for finding in found.findings] == [finding.variant for finding in whole.findings]
    for finding in found.findings:
        assert np.isnan(finding.value.value)
        assert finding.note == "member m1: no activity, the states do not vary"
    for variant, matrix in found.distances.items():
        if variant != "joint":  # whose blocks are over the mean norms of other members
            assert matrix[0, 2] == whole.distances[variant][0, 2]
        assert np.isnan(matrix[1, [0, 2]]).all()


@pytest.mark.parametrize("name", WEIGHTS)
def test_dead_untrained_members_are_named_as_such(name: str) -> None:
    weights, states = [network(5, seed) for seed in range(3)], [moving(5, seed) for seed in range(3)]
    dead = [x.copy() for x in states]
    dead[2][..., 0] = 1.0
    untrained = Recording(members=("m0", "m1", "m2"), weights=weights, states=dead)
    found = row(measured(name, weights, states, untrained=untrained), "recurrent/untrained")
    assert found.note == "reference: untrained members; untrained: dead unit left out: 1 of member m2"
    assert found.reference is not None
    silent = replace(untrained, states=[0 * x for x in states])
    found = row(measured(name, weights, states, untrained=silent), "recurrent/untrained")
    assert found.reference is None
    assert found.note == "untrained members: members m0, m1 and m2: no activity, the states do not vary"


def test_many_members_are_counted() -> None:
    states = [moving(4, seed) for seed in range(8)]
    for x in states[:7]:
        x[..., 0] = 1.0
    note = compared_weights(
        Recording(members=tuple("abcdefgh"), weights=[network(4, seed) for seed in range(8)], states=states)
    ).note
    listed = ", ".join(f"1 of member {label}" for label in "abcde")
    assert note == f"dead units left out: {listed}, 2 of 2 more members"


def test_where_no_unit_is_dead_nothing_changes() -> None:
    recording = example_recording()
    compared = compared_weights(recording)
    assert recording.weights is not None
    assert all(a is b for a, b in zip(compared.weights, recording.weights, strict=True))
    assert compared.note == ""
    found = MEASURES["signed_pif"]()(recording).distances["recurrent"][0, 1]
    assert found == align(recording.weights[0], recording.weights[1], signed=True).distance
