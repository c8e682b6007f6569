"""Solution families over several features: planted ways to hold a cue are told apart, one way is one family."""

from math import comb

import numpy as np
import pytest
from planted_cues import CYCLE, SLOW, TASK, planted, right_in_the_reaction

import degeneracy as dg
from degeneracy.analysis.dynamics.attractors.transition_graphs import transition_graphs
from degeneracy.core.errors import UserError
from degeneracy.measuring.record import record
from degeneracy.measuring.results import Result

PROBE = dg.Probe(n_trials=16, n_dynamics_trials=128)
# Two dimensions carry the planted dynamics.
QUICK = {"fixed_point_graph": {"n_starts": 16}, "linear_flow": {"rank": 4, "n_starts": 4}}


def measured(kinds: list[str], seed: int) -> Result:
    return dg.measure(planted(kinds, seed)[0], TASK, measures=list(QUICK), options=QUICK, probe=PROBE)


def adjusted_rand(a: np.ndarray, b: np.ndarray) -> float:
    """Hubert & Arabie (1985): pairs together in both, over what chance gives: 1 for the same groups, 0 by chance."""
    table = np.zeros((len(set(a)), len(set(b))), dtype=int)
    np.add.at(table, tuple(np.unique(each, return_inverse=True)[1] for each in (a, b)), 1)
    shared, of_a, of_b = (sum(comb(int(n), 2) for n in np.ravel(t)) for t in (table, table.sum(1), table.sum(0)))
    by_chance = of_a * of_b / comb(len(a), 2)
    return (shared - by_chance) / ((of_a + of_b) / 2 - by_chance)


def test_the_planted_networks_do_the_task_and_have_the_dynamics_that_they_were_given() -> None:
    kinds = [SLOW, CYCLE] * 2
    ensemble, known = planted(kinds, 3)
    assert right_in_the_reaction(ensemble).all()
    step = record(ensemble, TASK, PROBE).step
    assert step is not None
    for kind, value, graph in zip(kinds, known, transition_graphs(step, "none", (), n_starts=16, seed=0), strict=True):
        [node] = graph.nodes
        if kind == SLOW:
            assert (node.label, node.period) == ("00", 1)
            assert np.linalg.norm(node.position) < 1e-9
            assert node.eigenvalues[0] == pytest.approx(value, rel=1e-9)
        else:
            assert node.label == "(+- 00 -+ 00)"
            # The planted turn per step is that of small states; tanh of 32 units bends large ones a little.
            assert node.period == pytest.approx(value, rel=0.05)


@pytest.mark.parametrize("n_slow", [5, 8])
def test_slow_points_and_limit_cycles_are_two_families(n_slow: int) -> None:
    kinds = [SLOW] * n_slow + [CYCLE] * 6
    found = dg.solution_families(measured(kinds, n_slow))
    assert found.n_families == 2
    assert adjusted_rand(found.labels, np.array(kinds)) >= 0.95


@pytest.mark.parametrize("kind", [SLOW, CYCLE])
def test_one_way_to_hold_the_cue_is_one_family(kind: str) -> None:
    result = measured([kind] * 8, 11)
    assert not result.distances["fixed_point_graph/graph"].any()
    found = dg.solution_families(result)
    assert (found.n_families, set(found.labels)) == (1, {0})


def test_features_may_be_named() -> None:
    result = measured([SLOW] * 4 + [CYCLE] * 4, 2)
    found = dg.solution_families(result, ["fixed_point_graph/endings"])
    assert list(found.labels) == [0] * 4 + [1] * 4
    with pytest.raises(UserError, match="unknown pairwise distance 'fixed_point_graph/ending'"):
        dg.solution_families(result, ["fixed_point_graph/ending"])


def test_without_these_measures_it_says_so() -> None:
    result = dg.measure(planted([SLOW] * 6, 1)[0], TASK, measures=["cka"], probe=PROBE)
    with pytest.raises(UserError, match="families: none of fixed_point_graph, linear_flow was measured; name features"):
        dg.solution_families(result)


def test_the_adjusted_rand_index_by_hand() -> None:
    """Pairs 01 23 against 012 3: 1 pair shared, 2 and 3 of 6 in each: (1 - 1) / (2.5 - 1) = 0; same groups: 1."""
    assert adjusted_rand(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])) == 0
    assert adjusted_rand(np.array([0, 0, 1, 1]), np.array([5, 5, 3, 3])) == 1
