"""Classes of units: each unit in one, and weights of different ones never exchanged."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import degeneracy as dg
from degeneracy.networks.unit_classes import unit_classes

N = 8
UNITS = {"E": range(5), "I": range(5, N)}
TASK, PROBE = dg.tasks.FlipFlop(channels=2, n_steps=12), dg.Probe(n_trials=8)


def test_positions_and_masks_say_the_same() -> None:
    expected = ("E",) * 5 + ("I",) * 3
    assert unit_classes(UNITS, N, "here") == expected
    assert unit_classes({"E": np.arange(N) < 5, "I": [5, 6, 7]}, N, "here") == expected


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"E": range(5)}, r"here: unit 5 of 8 is in no class \(E\)"),
        ({"E": range(5), "I": range(4, 8)}, "unit 4 is both in 'E' and in 'I'"),
        ({"E": range(9)}, "class 'E' names unit 8, and there are 8, from 0 on"),
        ({"E": [0.5]}, "class 'E' needs whole numbers, or 8 times True or False"),
        ({"E": "all"}, "class 'E' needs the positions of its units, got 'all'"),
        ({}, "units are needed by class"),
        (["E"] * 8, "units are needed by class"),
    ],
)
def test_other_classes_are_refused_in_one_line(units: Any, message: str) -> None:
    with pytest.raises(dg.UserError, match=message) as caught:
        unit_classes(units, N, "here")
    assert "\n" not in str(caught.value)


def pair(order: torch.Tensor | None = None) -> tuple[nn.RNN, nn.Linear]:
    """One network, its units in another order."""
    core, readout = nn.RNN(2, N), nn.Linear(N, 2)
    gen = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in (*core.parameters(), *readout.parameters()):
            value.normal_(std=0.5, generator=gen)
        if order is not None:
            core.weight_hh_l0.copy_(core.weight_hh_l0[order][:, order])
            core.weight_ih_l0.copy_(core.weight_ih_l0[order])
            core.bias_ih_l0.copy_(core.bias_ih_l0[order])
            core.bias_hh_l0.copy_(core.bias_hh_l0[order])
            readout.weight.copy_(readout.weight[:, order])
    return core, readout


def measured(order: list[int], *, classes: bool = True, **options: Any) -> dg.Result:
    ensemble = dg.Ensemble.from_modules([pair(), pair(torch.tensor(order))])
    ensemble = ensemble.with_units(UNITS) if classes else ensemble
    return dg.measure(ensemble, TASK, measures=["pif"], options={"pif": options}, probe=PROBE)


WITHIN, ACROSS = [4, 0, 1, 2, 3, 7, 5, 6], [7, 0, 1, 2, 3, 4, 5, 6]


def test_units_of_different_classes_are_never_exchanged() -> None:
    def distance(result: dg.Result) -> float:
        return float(result.table.set_index("variant")["value"]["recurrent"])

    assert distance(measured(WITHIN)) == pytest.approx(0, abs=1e-5)
    assert distance(measured(ACROSS, classes=False)) == pytest.approx(0, abs=1e-5)
    assert distance(measured(ACROSS)) > 0.5


def test_rows_by_class_add_up_to_the_whole() -> None:
    result = measured(ACROSS, by_class=True)
    rows = result.table.set_index("variant")
    names = [f"recurrent/{a} to {b}" for a in "EI" for b in "EI"]
    assert set(names) <= set(rows.index)
    squares = sum(rows.value[name] ** 2 for name in names)
    assert squares == pytest.approx(rows.value["recurrent"] ** 2)
    for name in names:
        assert rows.floor[name] == pytest.approx(0, abs=1e-5)
        assert result.distances[f"pif/{name}"][0, 1] == pytest.approx(rows.value[name])
    assert not [name for name in measured(ACROSS).table.variant if " to " in name]


def test_a_row_by_class_is_of_its_own_weights() -> None:
    """Two networks that differ in the weights from inhibitory to excitatory units alone."""
    one, other = pair(), pair()
    with torch.no_grad():
        other[0].weight_hh_l0[:5, 5:] *= 1.01
        change = (0.01 * one[0].weight_hh_l0[:5, 5:]).norm().item()
    ensemble = dg.Ensemble.from_modules([one, other]).with_units(UNITS)
    result = dg.measure(ensemble, TASK, measures=["pif"], options={"pif": {"by_class": True}}, probe=PROBE)
    rows = result.table.set_index("variant")["value"]
    assert rows["recurrent/I to E"] == pytest.approx(change, rel=1e-4)
    assert rows["recurrent/E to I"] == pytest.approx(0, abs=1e-6)


def test_classes_are_saved_with_the_networks(tmp_path: Any) -> None:
    ensemble = dg.Ensemble.from_modules([pair(), pair()]).with_units(UNITS)
    assert dg.Ensemble.load(ensemble.save(tmp_path / "kept")).units == ("E",) * 5 + ("I",) * 3
    assert ensemble.converged.units == ensemble.units


def test_members_of_several_sizes_have_no_common_classes() -> None:
    given = [(nn.RNN(2, n), nn.Linear(n, 2)) for n in (N, N + 1)]
    with pytest.raises(dg.UserError, match="the members differ in their number of units"):
        dg.Ensemble.from_modules(given).with_units(UNITS)
