"""The weight distance against brute force, scipy's solver and planted copies; and what it must not ignore."""

from dataclasses import replace
from itertools import combinations, permutations, product

import numpy as np
import pytest
from scipy.optimize import quadratic_assignment

from degeneracy.analysis.matching import assignment, frank_wolfe, local_search
from degeneracy.analysis.recording import Recording, Weights
from degeneracy.analysis.weights import pif
from degeneracy.analysis.weights.measures import SignedPIF
from degeneracy.analysis.weights.symmetry import random_copy, transform
from degeneracy.core.errors import UserError

BLOCKS = tuple(pif.ORDINARY)
# A copy's entries are the original's in another order, so only the sums of a norm round.
EXACT = 1e-10


def uniform(n, seed=0):
    """A tanh network's recurrent weights at initialisation: U(-1/sqrt n, 1/sqrt n)."""
    return Weights.of(recurrent=np.random.default_rng(seed).uniform(-1, 1, size=(1, n, n)) / np.sqrt(n))


def full(n, seed=0, gates=1, candidate=0, symmetry="signed_permutation"):
    rng = np.random.default_rng(seed)
    return Weights.of(
        recurrent=rng.normal(size=(gates, n, n)),
        input=rng.normal(size=(gates, n, 2)),
        bias=rng.normal(size=(gates, 2, n)),
        readout=rng.normal(size=(3, n)),
        candidate=candidate,
        symmetry=symmetry,
    )


def distances(ws, *, signed, variant="recurrent", **options):
    """Of all pairs of networks, (network, network)."""
    pairs = list(combinations(range(len(ws)), 2))
    scales = pif.block_scales(ws, variant)
    found = pif.pif_pairs([(ws[i], ws[j]) for i, j in pairs], signed=signed, block_scales=scales, **options)
    matrix = np.zeros((len(ws), len(ws)))
    for (i, j), one in zip(pairs, found, strict=True):
        matrix[i, j] = matrix[j, i] = one.distance
    return matrix


def problem_of(x, y, signed, blocks=BLOCKS):
    """The quadratic assignment of two networks."""
    scales = dict.fromkeys(blocks, 1.0)
    a, b = (pif._prepared(w, signed, scales).side for w in (x, y))
    return assignment.assignment(a, b, signed=signed)


GRU = {"gates": 3, "candidate": 2}
LSTM = {"gates": 4, "candidate": 2}


def brute_force(x, y, signed, blocks):
    """The least distance over every permutation (and every choice of signs)."""
    n = x.recurrent.shape[-1]
    best = np.inf
    for p in permutations(range(n)):
        for signs in product((-1.0, 1.0), repeat=n) if signed else [np.ones(n)]:
            t = transform(y, np.array(p), np.array(signs))
            best = min(best, sum(((x[b] - t[b]) ** 2).sum() for b in blocks))
    return np.sqrt(best)


def test_two_units_by_hand():
    x = Weights.of(recurrent=np.array([[[1.0, 2.0], [0.0, 3.0]]]))
    y = Weights.of(recurrent=np.array([[[3.0, 1.0], [-2.0, 1.0]]]))
    # Unmatched: (1-3)^2 + (2-1)^2 + (0+2)^2 + (3-1)^2 = 13. Swapped y = [[1, -2], [1, 3]]: 0 + 16 + 1 + 0 = 17.
    assert pif.align(x, y, signed=False).distance == pytest.approx(np.sqrt(13), abs=EXACT)
    # One sign flipped, swapped y = [[1, 2], [-1, 3]]: 0 + 0 + 1 + 0 = 1.
    found = pif.align(x, y, signed=True)
    assert found.distance == pytest.approx(1.0, abs=EXACT)
    np.testing.assert_array_equal(found.permutation, [1, 0])
    assert found.signs[0] == -found.signs[1]


@pytest.mark.parametrize(
    ("n", "signed", "cell", "blocks"),
    [
        (6, False, {}, ("recurrent",)),
        (4, True, {}, ("recurrent",)),
        (5, False, GRU, BLOCKS),
        (4, True, GRU, BLOCKS),
        (4, True, LSTM, ("recurrent",)),
    ],
)
def test_brute_force_agrees(n, signed, cell, blocks):
    hits = 0
    for seed in range(6):
        x, y = full(n, seed, **cell), full(n, seed + 100, **cell)
        found = pif.align(x, y, signed=signed, blocks=blocks, n_restarts=32).distance
        exact = brute_force(x, y, signed, blocks)
        assert found > exact - EXACT
        assert found < 1.02 * exact
        hits += found < exact + EXACT
    assert hits >= 5  # an upper bound: one local optimum in six is allowed


@pytest.mark.parametrize("cell", [{}, GRU, LSTM])
@pytest.mark.parametrize("blocks", [("recurrent",), BLOCKS])
def test_a_copy_under_the_cells_symmetry_is_at_zero(cell, blocks):
    x = full(24, **cell)
    copy = random_copy(x, np.random.default_rng(1))
    assert pif.align(x, copy, signed=True, blocks=blocks).distance < EXACT
    # Permutations alone do not reach it: the flipped half of the entries stays away.
    norm = np.sqrt(sum((x[b] ** 2).sum() for b in blocks))
    assert pif.align(x, copy, signed=False, blocks=blocks).distance > 0.5 * norm


def test_a_rescaled_relu_network_is_at_zero():
    x = full(16, symmetry="scaled_permutation")
    copy = random_copy(x, np.random.default_rng(1))
    # 16 x 16 entries of order 1 at Newton's 1e-12 or so.
    assert pif.align(x, copy, signed=False, blocks=BLOCKS).distance < 1e-8
    assert distances([x, copy], signed=False, variant="joint")[0, 1] < 1e-8
    # The blocks' norms are taken at canonical scales too; 1e-10 for the same reason.
    assert pif.block_scales([copy], "joint") == pytest.approx(pif.block_scales([x], "joint"), rel=1e-10)
    as_tanh = [replace(w, symmetry="signed_permutation") for w in (x, copy)]
    assert pif.align(*as_tanh, signed=False, blocks=BLOCKS).distance > 1


def test_a_sign_flipped_network_of_128_units():
    """W -> D W D: unsigned distance as of unrelated networks, about 8.28; signed 0."""
    x = uniform(128)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=128)
    flipped = transform(x, np.arange(128), signs)
    assert pif.align(x, flipped, signed=True, n_restarts=2).distance < EXACT
    # Over seeds the unsigned one lies within 0.1 of 8.28 (and of the distance of unrelated networks).
    assert pif.align(x, flipped, signed=False, n_restarts=2).distance == pytest.approx(8.28, abs=0.15)


def test_unrelated_networks_at_initialisation():
    x, y = uniform(128, 1), uniform(128, 2)
    # sqrt(2 n / 3) = 9.24 as they stand; about 8.2 once aligned, and lower with signs.
    assert np.linalg.norm(x.recurrent - y.recurrent) == pytest.approx(9.24, abs=0.1)
    aligned = pif.align(x, y, signed=False, n_restarts=2).distance
    assert 8.0 < aligned < 8.4
    assert pif.align(x, y, signed=True, n_restarts=2).distance < aligned


@pytest.mark.parametrize("signed", [False, True])
def test_a_planted_matching_is_recovered_under_noise(signed):
    n = 64
    for seed in range(4):  # noise of half an entry's sd (1 / sqrt(3 n)): 50 of 50 in a longer run
        rng = np.random.default_rng(seed)
        x = uniform(n, seed)
        planted = rng.permutation(n)
        signs = rng.choice([-1.0, 1.0], size=n) if signed else np.ones(n)
        noise = 0.5 / np.sqrt(3 * n) * rng.normal(size=(1, n, n))
        y = transform(x, planted, signs)
        found = pif.align(x, y.replace(recurrent=y.recurrent + noise), signed=signed, n_restarts=1)
        np.testing.assert_array_equal(planted[found.permutation], np.arange(n))
        # A common sign of all units changes nothing in recurrent weights.
        assert abs((found.signs * signs[found.permutation]).sum()) == n
        assert found.distance == pytest.approx(np.linalg.norm(noise), rel=1e-12)


@pytest.mark.parametrize("cell", [{}, GRU, LSTM])
def test_the_signature_alone_finds_a_copy_and_its_signs(cell):
    for seed in range(4):
        x = full(20, seed, **cell)
        rng = np.random.default_rng(seed)
        planted, signs = rng.permutation(20), rng.choice([-1.0, 1.0], size=20)
        y = transform(x, planted, signs)
        matching, found = frank_wolfe.signature(problem_of(x, y, True), np.zeros(20, np.float32))
        np.testing.assert_array_equal(planted[matching], np.arange(20))
        np.testing.assert_array_equal(found, signs[matching])  # the common sign too: input and readout fix it


def test_no_worse_than_scipys_faq():
    networks = [uniform(32, seed) for seed in range(7)]
    ours, theirs = [], []
    for x, y in combinations(networks, 2):
        ours.append(pif.align(x, y, signed=False, n_restarts=8).distance)
        a, b = x.recurrent[0], y.recurrent[0]
        options = [{"maximize": True, "P0": "randomized", "rng": np.random.default_rng(k)} for k in range(8)]
        gain = max(quadratic_assignment(a, b, options=o).fun for o in options)
        theirs.append(np.sqrt((a**2).sum() + (b**2).sum() - 2 * gain))
    # 0.1% shorter on average; another BLAS may end in other optima, and 0.2% is one standard error over 21 pairs.
    assert np.mean(ours) < 1.002 * np.mean(theirs)


def test_the_distance_is_symmetric_and_knows_no_order_of_pairs():
    ws = [full(12, seed) for seed in range(4)]
    for variant in ("recurrent", "joint"):
        result = distances(ws, signed=True, variant=variant)
        backwards = distances(ws[::-1], signed=True, variant=variant)
        # In `joint` the mean norms are summed in another order: rounding.
        np.testing.assert_allclose(backwards[::-1, ::-1], result, rtol=1e-13)
    alone = distances(ws[:2], signed=True)[0, 1]
    assert alone == distances(ws, signed=True)[0, 1]
    assert alone == pif.align(ws[1], ws[0], signed=True).distance


def test_the_matching_belongs_to_the_order_asked_for():
    x, y = full(10, 1), full(10, 2)
    for a, b in ((x, y), (y, x)):
        found = pif.align(a, b, signed=True)
        moved = transform(b, found.permutation, found.signs)
        assert np.linalg.norm(a.recurrent - moved.recurrent) == pytest.approx(found.distance, rel=1e-13)


def test_what_is_not_ignored():
    x = uniform(32)
    n = np.linalg.norm(x.recurrent)
    scaled = x.replace(recurrent=1.5 * x.recurrent)
    assert pif.align(x, scaled, signed=True).distance == pytest.approx(0.5 * n, rel=1e-10)
    assert pif.align(x, x.replace(recurrent=x.recurrent.transpose(0, 2, 1)), signed=True).distance > 0.5 * n
    assert pif.align(x, x.replace(recurrent=-x.recurrent), signed=True).distance > 0.5 * n
    one = x.recurrent.copy()
    one[0, 3, 5] += 0.25
    copy = random_copy(x.replace(recurrent=one), np.random.default_rng(0))
    assert pif.align(x, copy, signed=True).distance == pytest.approx(0.25, abs=EXACT)


@pytest.mark.parametrize("block", ["input", "bias", "readout"])
def test_joint_sees_a_change_of_each_block(block):
    x = full(10, **GRU)
    y = random_copy(x.replace(**{block: 2 * x[block]}), np.random.default_rng(0))
    assert distances([x, y], signed=True)[0, 1] < EXACT
    # Norms B and 2B: over their mean 1.5 B the difference B is 2/3.
    joint = distances([x, y], signed=True, variant="joint")[0, 1]
    assert joint == pytest.approx(2 / 3, abs=EXACT)


def test_joint_divides_the_untrained_members_by_the_trained_ones_norms():
    """The same unit of distance on both sides: members of twice the weights are twice as far apart."""
    ws, members = [full(6, seed) for seed in range(3)], tuple("012")
    doubled = [w.replace(**{block: 2 * w[block] for block in BLOCKS}) for w in ws]
    untrained = Recording(members=members, weights=doubled)
    found = SignedPIF()(Recording(members=members, weights=ws, untrained=untrained)).findings
    one = next(finding for finding in found if finding.variant == "joint/untrained")
    # Doubling is exact, so the search goes the same way.
    assert one.reference.value == pytest.approx(2 * one.value.value, rel=1e-12)


def test_joint_leaves_out_absent_and_zero_blocks():
    ws = [full(8, seed).replace(input=None, bias=np.zeros((1, 2, 8))) for seed in range(2)]
    assert set(pif.block_scales(ws, "joint")) == {"recurrent", "readout"}
    assert np.isfinite(distances(ws, signed=True, variant="joint")).all()


def test_more_restarts_never_hurt_and_spread_is_reported():
    pairs = [(uniform(24, k), uniform(24, k + 9)) for k in range(4)]
    few = pif.pif_pairs(pairs, signed=True, block_scales={"recurrent": 1.0}, n_restarts=1)
    many = pif.pif_pairs(pairs, signed=True, block_scales={"recurrent": 1.0}, n_restarts=24)
    assert np.mean([a.distance for a in many]) < np.mean([a.distance for a in few])
    assert all(a.spread == 0 for a in few)  # one finalist
    assert any(a.spread > 0 for a in many)
    assert all(a.converged for a in many)


def test_a_search_cut_short_says_so():
    assert not pif.align(uniform(24, 1), uniform(24, 2), signed=False, max_iter=1).converged


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("cell", [{}, GRU])
def test_predicted_gains_of_local_moves_are_the_gains(signed, cell):
    """Every swap and flip, recomputed from scratch with all four choices of signs."""
    n = 6
    problem = problem_of(full(n, 1, **cell), full(n, 2, **cell), signed)
    rng = np.random.default_rng(0)
    matching, signs = rng.permutation(n), rng.choice([-1.0, 1.0], size=n) if signed else np.ones(n)
    gains, sign_a, sign_b = local_search._gains(problem, matching, signs)
    before = local_search.profit(problem, matching, signs)
    choices = list(product((-1.0, 1.0), repeat=2)) if signed else [(1.0, 1.0)]
    for a in range(n):
        for b in range(a):
            after = {}
            for s, t in choices:
                new, flipped = local_search._moved(matching, signs, [(b, a, s, t)])
                after[s, t] = local_search.profit(problem, new, flipped)
            assert gains[b, a] == pytest.approx(max(after.values()) - before, abs=EXACT)
            assert after[sign_a[b, a], sign_b[b, a]] == pytest.approx(max(after.values()), abs=EXACT)
        if signed:
            flipped = np.where(np.arange(n) == a, -signs, signs)
            assert gains[a, a] == pytest.approx(local_search.profit(problem, matching, flipped) - before, abs=EXACT)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("cell", [{}, LSTM])
def test_the_search_keeps_its_own_books(signed, cell):
    """Value and gradient carried along the search are those recomputed at the point reached."""
    problem = problem_of(full(8, 1, **cell), full(8, 2, **cell), signed)
    prices = np.zeros(8, np.float32)
    point = frank_wolfe._fresh_starts(problem, 2, np.random.default_rng(0), prices)[1]
    books_agree(problem, point)
    start = point.value
    frank_wolfe._ascend(problem, point, 5, prices)
    assert point.value > start
    books_agree(problem, point)
    end = frank_wolfe._end(problem, point, prices)
    assert end.value == pytest.approx(local_search.profit(problem, end.matching, end.signs), rel=SINGLE)
    matching = frank_wolfe._random_matching(problem, np.random.default_rng(1))
    away = frank_wolfe._away(problem, end, *matching, 0.4)
    books_agree(problem, away, start=False)


SINGLE = 1e-5  # sums of 500 terms in float32, each good to 6e-8


def books_agree(problem, point, start=True):
    """The value and gradient that a point carries, against those of the matrices (Q, P) it stands for."""
    z = frank_wolfe._position(problem, point).astype(float)
    if start:  # the barycentre's share is what matchings have not taken
        z[int(problem.signed) :] += (1 - sum(share for share, _, _ in point.corners)) / 8
    q, p = z[0], z[-1]
    value, gradient = np.vdot(problem.linear, z), problem.linear.copy()
    for x, y in zip(problem.x.own, problem.y.own, strict=True):
        value += np.trace(x.T @ q @ y @ q.T)
        gradient[0] += x @ q @ y.T + x.T @ q @ y
    for x, y in zip(problem.x.other, problem.y.other, strict=True):
        value += np.trace(x.T @ p @ y @ q.T)
        gradient[0] += x.T @ p @ y
        gradient[-1] += x @ q @ y.T
    assert point.value == pytest.approx(value, rel=SINGLE)
    np.testing.assert_allclose(point.gradient, gradient, atol=SINGLE * np.abs(gradient).max())


def test_shuffled_keeps_the_values_of_each_block_and_nothing_else():
    x = full(20, **GRU)
    mixed = pif.shuffled(x, np.random.default_rng(0))
    for block in BLOCKS:
        old, new = x[block], mixed[block]
        assert not np.array_equal(old, new)
        if block == "readout":
            old, new = old[None], new[None]
        for gate_old, gate_new in zip(old, new, strict=True):
            np.testing.assert_array_equal(np.sort(gate_old, axis=None), np.sort(gate_new, axis=None))
    # Rows are broken up too: no shuffled row holds the values of a row there was.
    assert not set(map(tuple, np.sort(x.recurrent[0]))) & set(map(tuple, np.sort(mixed.recurrent[0])))
    assert pif.shuffled(x.replace(input=None), np.random.default_rng(0)).blocks.keys() == set(BLOCKS) - {"input"}


def test_a_bias_row_is_shuffled_within_itself():
    """Rows of different sizes, which would otherwise be mixed."""
    bias = np.stack([np.arange(1.0, 6.0), 100 * np.arange(1.0, 6.0)])[None]
    mixed = pif.shuffled(Weights.of(recurrent=np.ones((1, 5, 5)), bias=bias), np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(mixed["bias"], axis=-1), bias)


def test_untrained_members_without_a_block_are_no_reference_of_the_blocks_together():
    rng = np.random.default_rng(0)
    given = [Weights.of(recurrent=rng.normal(size=(1, 5, 5)), input=rng.normal(size=(1, 5, 2))) for _ in range(3)]
    members = ("a", "b", "c")
    before = Recording(members=members, weights=[w.replace(input=None) for w in given])
    found = SignedPIF()(Recording(members=members, weights=given, untrained=before))
    rows = {finding.variant: finding for finding in found.findings}
    assert rows["recurrent/untrained"].reference is not None
    assert rows["joint/untrained"].reference is None
    assert rows["joint/untrained"].note == "untrained members without their input weights"


X = full(5)
MISTAKES = {
    "different sizes": (full(6), {}),
    "different cells": (full(5, **GRU), {}),
    "input weights are given for one network only": (X.replace(input=None), {}),
    "readout weights are not finite": (X.replace(readout=np.full((3, 5), np.nan)), {}),
    "did you mean 'recurrent'": (X, {"blocks": ("recurent",)}),
    "n_restarts = 0 is wrong": (X, {"n_restarts": 0}),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_named(message):
    other, options = MISTAKES[message]
    with pytest.raises(UserError, match=message) as error:
        pif.align(X, other, signed=False, **options)
    assert "\n" not in str(error.value)
    assert pif.comparable(X, X) == ""


def test_mistakes_of_cell_and_variant_are_named():
    relu = full(5, symmetry="scaled_permutation")
    assert "may not change sign" in pif.comparable(relu, relu, signed=True)
    assert pif.comparable(relu, relu) == ""
    assert "different sizes" in pif.comparable(uniform(4), uniform(5))
    with pytest.raises(UserError, match="unknown variant 'jont'; did you mean 'joint'"):
        pif.block_scales([X, X], "jont")
    with pytest.raises(UserError, match="weight_change: recurrent weights of different shapes"):
        pif.weight_change(uniform(4), uniform(5))
