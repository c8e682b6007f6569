"""What the table says of fixed points: counts, cycles, notes, and networks of which there is no number."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixed_point_systems import step_of, uniform

from degeneracy.analysis.dynamics.attractors import fixed_points
from degeneracy.analysis.dynamics.attractors.census import FixedPointCensus
from degeneracy.analysis.dynamics.attractors.fixed_points import find_fixed_points, notes
from degeneracy.analysis.dynamics.attractors.forward_runs import Cycle, Outcomes, outcome_notes
from degeneracy.analysis.recording import Recording
from degeneracy.measuring.record import step_function
from degeneracy.networks.pointwise import TanhCell

NEITHER = "reach no fixed point and no cycle of a period up to 12 within 3200 steps"


def rows(step):
    measure = FixedPointCensus(n_starts=32)
    recording = Recording(members=tuple(map(str, range(len(step.visited)))), step=step)
    measured = measure.whole([part() for part in measure.parts(recording)])
    return {finding.variant: finding for finding in measured.findings}


def test_the_rows_say_what_share_of_runs_ends_in_no_fixed_point():
    step = step_of(
        lambda h, _, gain: torch.tanh(gain * h),
        uniform((2, 64, 1)),
        weights=[torch.tensor([2.0, -2.0])[:, None, None]],
    )
    table = rows(step)
    assert [table[row].value.value for row in ("n_stable", "n_total", "n_cycles")] == [1.0, 2.0, 0.5]
    for finding in table.values():
        assert finding.note == "50% of forward runs (1 of 2 networks) end in cycles of period 2"


def test_a_network_with_weights_that_are_not_finite_has_no_number_and_the_rows_say_why():
    cell = TanhCell()
    params = {
        "W_rec": uniform((3, 4, 4)), "W_in": uniform((3, 4, 2), 1), "bias": uniform((3, 4), 2),
        "W_out": uniform((3, 1, 4), 3), "b_out": uniform((3, 1), 4),
    }  # fmt: skip
    sound = step_function(cell, params, uniform((3, 40, 4)), {"none": torch.zeros(2)})
    w_rec = params["W_rec"].clone()
    w_rec[1, 2, 3] = torch.inf  # tanh of it is finite, and so is every step
    step = step_function(cell, {**params, "W_rec": w_rec}, sound.visited, sound.inputs)
    assert step.faults == ("", "weights that are not finite: W_rec", "")
    found = find_fixed_points(step)
    assert (len(found[1]), found[1].n_starts, found[1].note) == (0, 0, "weights that are not finite: W_rec")
    for k in (0, 2):
        assert found[k].position.tobytes() == find_fixed_points(sound)[k].position.tobytes()
    table = rows(step)
    for finding in table.values():
        assert np.isnan(finding.value.value)
        assert np.isnan(finding.value.leave_one_out).all()
        why = "no number, as not every network has one; network 1: weights that are not finite: W_rec"
        assert finding.note.startswith(why)
    assert np.isfinite(rows(sound)["n_stable"].value.value)


def test_a_point_without_derivative_has_no_kind():
    """h' = 1 + sqrt(|h - 1|) / 2 rests at 1, where the root has no derivative, and at 1.25."""
    found = find_fixed_points(step_of(lambda h, _: 1 + (h - 1).abs().sqrt() / 2, torch.ones(1, 4, 1)))[0]
    assert (len(found), found.n_starts) == (0, 0)
    assert found.note == "the step has no finite derivative at a fixed point"


def test_notes_name_a_few_networks_and_count_many():
    some = [find_fixed_points(step_of(lambda h, _: h, uniform((1, 4, 1))))[0]]
    text = "points on a continuum, whose number has no meaning"
    assert notes(some) == text
    assert notes(some, ["7"]) == f"network 7: {text}"
    assert notes(some * 2, ["7", "8"]) == f"networks 7, 8: {text}"
    assert notes(some * 9, list("abcdefghi")) == f"9 of 9 networks: {text}"


def test_shares_are_neither_rounded_to_nothing_nor_to_all():
    cycles = tuple(Cycle(position=np.zeros((p, 1)), eigenvalues=np.array([0.5j]), n_runs=1) for p in (2, 5))
    some = [Outcomes(n_runs=500, cycles=cycles, n_restless=497), Outcomes(n_runs=0)]
    assert outcome_notes(some) == [
        "under 1% of forward runs (1 of 2 networks) end in cycles of periods 2, 5",
        f"99% of forward runs (1 of 2 networks) {NEITHER}",
    ]


def test_the_cycles_are_exported_point_by_point():
    two = step_of(
        lambda h, _, gain: torch.tanh(gain * h.roll(1, -1)),
        uniform((2, 200, 3)),
        weights=[torch.tensor([2.0, 0.5])[:, None, None]],
    )
    arrays = FixedPointCensus()(Recording(members=("a", "b"), step=two)).arrays
    # Of the ring, two cycles of 3; the other member comes to rest.
    assert arrays["cycle_member"].tolist() == [0] * 6
    assert arrays["cycle"].tolist() == [0, 0, 0, 1, 1, 1]
    after = np.tanh(2 * np.roll(arrays["cycle_position"], 1, axis=1)).reshape(2, 3, 3)
    np.testing.assert_allclose(after, np.roll(arrays["cycle_position"].reshape(2, 3, 3), -1, axis=1), atol=1e-12)
    at_rest = step_of(lambda h, _: 0.5 * h, uniform((2, 20, 3)))
    none = FixedPointCensus(n_starts=8)(Recording(members=("a", "b"), step=at_rest)).arrays
    assert none["cycle_position"].shape == (0, 3)


def test_where_many_points_are_expected_more_starts_are_taken(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def few(step, *, n_starts, **how):
        asked.append(n_starts)
        return find_fixed_points(step, n_starts=8, **how)

    monkeypatch.setattr(fixed_points, "find_fixed_points", few)
    step = step_of(lambda h, _, gain: torch.tanh(gain * h), uniform((2, 64, 1)), weights=[torch.full((2, 1, 1), 2.0)])
    for n_pulses, n_starts in ((7, 256), (8, 1024)):
        pulsed = replace(step.select([0]), pulses=(torch.ones(1),) * n_pulses)
        both = replace(step, select=lambda _, pulsed=pulsed: pulsed)
        FixedPointCensus()(Recording(members=("0", "1"), step=both))
        assert set(asked) == {n_starts}
        asked.clear()
    sentence = FixedPointCensus().methods_sentence()
    assert "were searched from 256, with 8 pulses or more 1,024, visited states per network" in sentence
    assert "were searched from 7 visited states" in FixedPointCensus(n_starts=7).methods_sentence()
