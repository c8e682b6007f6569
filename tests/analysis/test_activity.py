"""Members without activity: named by every measure on states, which then has no number; the others' distances stay."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.analysis import MEASURES, Recording
from degeneracy.analysis.activity import among_all, named, silent_members, silent_note, varies
from degeneracy.checks import example_recording
from degeneracy.core.errors import UserError

QUICK: dict[str, dict[str, Any]] = {"dsa": {"rank": 4, "n_delays": 3, "n_starts": 8}}
LABELS = ("seven", "eight", "nine", "ten")
ON_STATES = [name for name, kind in MEASURES.items() if "states" in kind.needs]
PAIRWISE = [name for name in ON_STATES if MEASURES[name].pairwise]
NOTE = "member nine: no activity, the states do not vary"


def quick(name: str) -> Any:
    return MEASURES[name](**QUICK.get(name, {}))


@pytest.fixture(scope="module")
def plain() -> Recording:
    recording = replace(example_recording(), members=LABELS)
    assert recording.untrained is not None
    later = example_recording(n_members=8).states
    assert later is not None
    return replace(recording, untrained=replace(recording.untrained, members=LABELS, states=later[4:]))


def silenced(recording: Recording, value: float, member: int = 2) -> Recording:
    """One member's states are all one value."""
    assert recording.states is not None
    assert recording.autonomous_states is not None
    changed: dict[str, Any] = {}
    for name in ("states", "autonomous_states"):
        states = list(getattr(recording, name))
        states[member] = np.full_like(states[member], value)
        changed[name] = states
    return replace(recording, **changed)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e160])
@pytest.mark.parametrize("name", ON_STATES)
def test_a_silent_member_is_named_and_leaves_no_number(name: str, value: float, plain: Recording) -> None:
    found = quick(name)(silenced(plain, value))
    assert [f.variant for f in found.findings] == [f.variant for f in quick(name)(plain).findings]
    for finding in found.findings:
        assert np.isnan(finding.value.value)
        assert np.isnan(finding.value.leave_one_out).all()
        assert NOTE in finding.note


@pytest.mark.parametrize("name", PAIRWISE)
def test_the_distances_of_the_others_are_what_they_were(name: str, plain: Recording) -> None:
    others = [0, 1, 3]
    before, after = quick(name)(plain).distances, quick(name)(silenced(plain, 0.1)).distances
    assert before.keys() == after.keys()
    for variant, matrix in after.items():
        assert np.array_equal(matrix[np.ix_(others, others)], before[variant][np.ix_(others, others)])
        assert np.isnan(matrix[2, others]).all()
        assert np.isnan(matrix[others, 2]).all()
        assert not np.diag(matrix).any()


@pytest.mark.parametrize("name", ["dsa", "procrustes", "svcca", "cka", "participation_ratio"])
def test_a_silent_untrained_member_costs_the_reference_alone(name: str, plain: Recording) -> None:
    assert plain.untrained is not None
    found = quick(name)(replace(plain, untrained=silenced(plain.untrained, 0.0)))
    for mine, full in zip(found.findings, quick(name)(plain).findings, strict=True):
        assert np.array_equal(mine.value.leave_one_out, full.value.leave_one_out)
        assert full.reference is not None
        assert mine.reference is None
        assert "untrained" in mine.note
        assert NOTE in mine.note


@pytest.mark.parametrize("name", PAIRWISE)
def test_members_that_are_all_silent_have_no_distances(name: str, plain: Recording) -> None:
    recording = plain
    for k in range(4):
        recording = silenced(recording, 1.0, k)
    for variant, matrix in quick(name)(recording).distances.items():
        assert np.isnan(matrix[np.triu_indices(4, k=1)]).all(), variant
    for finding in quick(name)(recording).findings:
        assert "members seven, eight, nine and ten: no activity" in finding.note


@pytest.mark.parametrize("name", ON_STATES)
def test_states_that_are_not_finite_are_no_lack_of_activity(name: str, plain: Recording) -> None:
    for value in (np.nan, np.inf):
        recording = silenced(plain, value)
        if name == "representation_alignment":  # has no check of its own: NaN for that member
            assert "member nine" in quick(name)(recording).findings[0].note
        else:
            with pytest.raises(UserError, match="finite"):
                quick(name)(recording)


def test_a_silent_half_of_the_trials_is_no_activity_for_dsa(plain: Recording) -> None:
    """Its operator would be 0, at a right angle to all others."""
    assert plain.states is not None
    states = [x.copy() for x in plain.states]
    states[2][1::2] = 0.0
    finding = quick("dsa")(replace(plain, states=states)).findings[0]
    assert np.isnan(finding.value.value)
    assert NOTE in finding.note
    whole = quick("dsa").replace(halves=False)(replace(plain, states=states)).findings[0]
    assert np.isfinite(whole.value.value)


def test_a_member_without_gradients_is_named(plain: Recording) -> None:
    kernel = plain.tangent_kernel
    assert kernel is not None

    def without(trials: Any, steps: Any) -> Any:
        return kernel.kernel(trials, steps) * np.array([1.0, 1.0, 0.0, 1.0])[:, None, None]

    found = MEASURES["kernel_alignment"]()(replace(plain, tangent_kernel=replace(kernel, kernel=without)))
    for finding in found.findings:
        assert np.isnan(finding.value.value)
        assert finding.note.startswith("member nine: no parameter changes the outputs")


def test_what_varies_is_told_from_the_rounding_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    moving = rng.normal(size=(4, 9, 3))
    for size in (1e-300, 1e-9, 1.0, 1e300):
        assert varies(size * moving)
        assert not varies(size * np.full((4, 9, 3), 0.1))
    assert varies(moving + 1e9)
    assert not varies(np.zeros((4, 9, 3)))
    one_step = np.full((4, 9, 3), 0.1)
    one_step[2, 3, 1] += 1e-9
    assert varies(one_step)
    assert silent_members([moving, np.zeros((4, 9, 3)), moving]) == [1]


def test_a_few_members_are_named_and_many_counted() -> None:
    labels = [str(k) for k in range(20)]
    assert named([3], labels) == "member 3"
    assert named([3, 5], labels) == "members 3 and 5"
    assert named([1, 2, 3, 4, 5], labels) == "members 1, 2, 3, 4 and 5"
    assert named(range(9), labels) == "members 0, 1, 2, 3, 4 and 4 more"
    assert silent_note([], labels) == ""


def test_a_matrix_of_some_stands_among_all() -> None:
    whole = among_all(np.array([[0.0, 2.0], [2.0, 0.0]]), [0, 2], 3)
    assert np.array_equal(whole, [[0, np.nan, 2], [np.nan, 0, np.nan], [2, np.nan, 0]], equal_nan=True)


def test_the_table_of_arrays_names_a_silent_member_and_its_report_is_drawn(tmp_path: Any) -> None:
    states = np.random.default_rng(0).normal(size=(4, 8, 9, 3))
    states[1] = 0.0
    result = dg.measure_arrays(states=states, measures=["dsa", "procrustes", "participation_ratio"], options=QUICK)
    assert result.table["value"].isna().all()
    assert result.table["note"].str.startswith("member 1: no activity, the states do not vary").all()
    page = dg.report(result, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "member 1: no activity" in page
