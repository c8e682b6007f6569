"""What a report says of topology, flow and geometry: each by its own measure, side by side."""

import re
from dataclasses import replace

import numpy as np

from degeneracy.analysis.measure import ASPECTS, Finding, Measured
from degeneracy.analysis.statistics import by_name, jackknife
from degeneracy.contrasts.effects import effects
from degeneracy.reporting.aspects import sentences
from degeneracy.reporting.data import ReportData
from degeneracy.wording.numbers import number
from tests.synthetic import study

N = 12


def pairs(mean, seed):
    upper = np.triu(mean * (1 + 0.05 * np.random.default_rng(seed).normal(size=(N, N))), 1)
    return upper + upper.T


def found(variant, distances, **fields):
    finding = by_name.finding(variant, "pair_mean", distances, of=variant, **fields)
    return Measured(findings=(finding,), distances={variant: distances})


def said(**means):
    """The sentences on a study of three conditions whose aspects have these means."""
    return sentences(ReportData.of(study_of(**means)))


def study_of(graph=(0.0, 0.0, 0.0), flow=(0.02, 0.02, 0.02), shape=(1.0, 1.4, 1.8), unit="", corrected=False):
    """A study of three conditions whose aspects have these means; geometry in a unit, or as squares."""
    shown = study(N)
    results = []
    for k, result in enumerate(shown.results):
        labels = tuple(map(str, range(N)))
        kept = {"floor": jackknife.constant(0.001, N), "reference": jackknife.constant(0.08, N)}
        measured = {
            "linear_flow": found("driven", pairs(flow[k], k), **kept),
            "procrustes": found(
                "driven", pairs(shape[k], 10 + k), floor=jackknife.constant(0.0, N), unit=unit, corrected=corrected
            ),
            "fixed_point_graph": found("graph", pairs(graph[k], 20 + k), floor=jackknife.constant(0.0, N)),
        }
        levels = dict.fromkeys(measured, "dynamics")
        results.append(replace(result, measured=measured, missing={}, levels=levels, measured_members=labels))
    return replace(shown, results=tuple(results))


def test_each_aspect_has_its_sentence_in_order():
    assert [line.split(" ")[0].lower() for line in said()] == list(ASPECTS)


def test_networks_that_are_all_alike_are_identical():
    topology, *_ = said()
    assert (
        topology == "Topology (Fixed-point graph, graph): identical, all networks in every condition are at distance 0."
    )


def test_what_rises_is_said_to_with_its_interval():
    *_, geometry = said()
    assert geometry.startswith("Geometry (Procrustes, driven):")
    assert "up from channels = 2 to 4, 0.8" in geometry


def test_where_a_value_stands_between_floor_and_untrained_networks_is_said():
    _, flow, _ = said()
    assert "of the way from the floor to that of untrained networks" in flow


def test_what_is_mostly_floor_is_not_given_as_a_share():
    _, flow, _ = said(flow=(0.0011, 0.0011, 0.0011))
    assert "not resolved" in flow


def test_an_aspect_that_was_not_measured_is_not_named():
    assert sentences(ReportData.of(replace(study(N), results=study(N).results[:1])))[-1].startswith("Geometry")
    assert not any(line.startswith("Topology") for line in sentences(ReportData.of(study(N))))


def test_a_finding_without_a_number_says_so():
    shown = study(N)
    none = Finding(variant="graph", value=jackknife.constant(float("nan"), N))
    kept = {"measured": {"fixed_point_graph": Measured(findings=(none,))}, "levels": {"fixed_point_graph": "dynamics"}}
    results = tuple(replace(r, **kept, missing={}) for r in shown.results)
    assert sentences(ReportData.of(replace(shown, results=results))) == [
        "Topology (Fixed-point graph, graph): no number."
    ]


def test_a_change_has_its_unit():
    *_, geometry = said(unit="rad")
    assert re.search(r"up from channels = 2 to 4, 0\.8\d* \[[\d., ]+\] rad\.$", geometry)


def test_where_no_change_can_be_told_the_smallest_that_could_have_been_seen_is_said():
    *_, geometry = said(shape=(1.0, 1.0, 1.0), unit="rad")
    assert "unclear" not in geometry
    told = re.search(
        r"no change can be told from channels = 2 to 4, −?0\.0\d* \[.*\] rad; "
        r"the smallest that could have been seen is ±(0\.\d+) rad\.$",
        geometry,
    )
    assert told
    shown = effects(study_of(shape=(1.0, 1.0, 1.0), unit="rad"))
    row = shown[(shown.measure == "procrustes") & (shown.scale == "value")].iloc[0]
    assert told[1] == number(row.smallest_visible)


def test_squares_are_given_as_percent_or_in_their_unit():
    lines = {corrected: said(unit="squared unit", corrected=corrected)[-1] for corrected in (True, False)}
    assert re.search(r"\]% of the distance\.$", lines[True])
    assert re.search(r"\] squared unit\.$", lines[False])
    below = said(shape=(-0.5, 0.4, 1.8), unit="squared unit", corrected=True)[-1]  # no distance to be percent of
    assert re.search(r"\] squared unit\.$", below)
