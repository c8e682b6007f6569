"""Units of several classes: none of one class is ever matched to one of another."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from degeneracy.analysis.recording import Weights
from degeneracy.analysis.weights import pif
from degeneracy.analysis.weights.symmetry import random_copy, transform

CLASSES = ("e", "i", "e", "e", "i")
BLOCKS = ("recurrent", "input", "bias", "readout")


def some(seed: int, gates: int = 1, classes: tuple[str, ...] = CLASSES, **rest) -> Weights:
    rng, n = np.random.default_rng(seed), len(CLASSES)
    return Weights.of(
        recurrent=rng.normal(size=(gates, n, n)),
        input=rng.normal(size=(gates, n, 2)),
        bias=rng.normal(size=(gates, 1, n)),
        readout=rng.normal(size=(2, n)),
        classes=classes,
        **{"symmetry": "signed_permutation", **rest},
    )


def apart(x: Weights, y: Weights, blocks: tuple[str, ...]) -> float:
    return float(sum(((x[name] - y[name]) ** 2).sum() for name in blocks) ** 0.5)


def least(x: Weights, y: Weights, blocks: tuple[str, ...], *, signed: bool, mixed: bool = False) -> float:
    """Over all matchings, of units of a class alone unless `mixed`, and all signs."""
    n = len(CLASSES)
    flips = [np.array(s) for s in product((1.0, -1.0), repeat=n)] if signed else [np.ones(n)]
    orders = [
        np.array(order) for order in permutations(range(n)) if mixed or tuple(y.classes[k] for k in order) == x.classes
    ]
    return min(apart(x, transform(y, order, signs), blocks) for order in orders for signs in flips)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("gates", [1, 2])
@pytest.mark.parametrize("blocks", [("recurrent",), BLOCKS, ("input", "readout")])
def test_the_best_matching_within_classes_by_trying_all(blocks: tuple[str, ...], gates: int, signed: bool) -> None:
    hits = closer = 0
    for seed in range(6):
        x, y = some(seed, gates), some(seed + 100, gates, classes=("i", "i", "e", "e", "e"))
        found = pif.align(x, y, signed=signed, blocks=blocks, n_restarts=32)
        assert tuple(y.classes[k] for k in found.permutation) == x.classes
        exact = least(x, y, blocks, signed=signed)
        assert (1 - 1e-10) * exact < found.distance < 1.05 * exact  # an upper bound, to float64 rounding
        hits += found.distance < (1 + 1e-10) * exact
        assert pif.align(y, x, signed=signed, blocks=blocks, n_restarts=32).distance == found.distance
        closer += exact > (1 + 1e-6) * least(x, y, blocks, signed=signed, mixed=True)
    assert hits >= 5  # one local optimum in six is allowed
    assert closer > 0, "mixing classes would have been closer"


@pytest.mark.parametrize("signed", [False, True])
def test_a_copy_written_in_another_order_is_the_same_network(signed: bool) -> None:
    rng = np.random.default_rng(0)
    classes = tuple("e" if k < 24 else "i" for k in range(30))
    n = len(classes)
    weights = Weights.of(recurrent=rng.normal(size=(1, n, n)), input=rng.normal(size=(1, n, 2)), classes=classes)
    copy = random_copy(replace(weights, symmetry="signed_permutation" if signed else "permutation"), rng)
    copy = replace(copy, symmetry=weights.symmetry)
    assert sorted(copy.classes) == sorted(classes)
    assert copy.classes != classes
    found = pif.align(weights, copy, signed=signed, blocks=("recurrent", "input"))
    assert found.distance < 1e-10  # float64 rounding of 900 entries
    assert tuple(copy.classes[k] for k in found.permutation) == classes


def test_exchanged_classes_make_another_network() -> None:
    x = some(0)
    renamed = replace(x, classes=tuple({"e": "i", "i": "e"}[name] for name in CLASSES))
    said = "networks of different classes of units (3 e and 2 i, and 2 e and 3 i)"
    assert pif.comparable(x, renamed) == said
    assert (
        pif.comparable(x, replace(x, classes=()))
        == "networks of different classes of units (3 e and 2 i, and all alike)"
    )
    assert not pif.comparable(x, replace(x, classes=CLASSES[::-1]))
    even = replace(x, classes=("e", "e", "i", "i", "i"))
    moved = replace(x, classes=("i", "i", "i", "e", "e"))
    assert pif.align(even, replace(moved, classes=("i", "e", "i", "i", "e")), signed=False).distance > 1


def test_one_class_is_none() -> None:
    x, y = some(0), some(1)
    alike = [replace(w, classes=("unit",) * 5) for w in (x, y)]
    plain = [replace(w, classes=()) for w in (x, y)]
    for signed in (False, True):
        found, right = (pif.align(*pair, signed=signed, blocks=BLOCKS) for pair in (alike, plain))
        assert found.distance == right.distance
        assert np.array_equal(found.permutation, right.permutation)


def test_shuffled_weights_keep_the_signs_of_their_class() -> None:
    x = some(0, gates=2)
    of_class = np.where(np.array(CLASSES) == "e", 1.0, -1.0)
    x = x.replace(recurrent=np.abs(x["recurrent"]) * of_class)
    mixed = pif.shuffled(x, np.random.default_rng(0))
    assert (mixed["recurrent"] * of_class > 0).all()
    for gate in range(2):
        for name in ("e", "i"):
            before, after = (w["recurrent"][gate][:, np.array(CLASSES) == name] for w in (x, mixed))
            assert np.array_equal(np.sort(before, axis=None), np.sort(after, axis=None))
            assert not np.array_equal(before, after)
