"""A condition's folder is named by all that makes its members what they are: nothing of it may be left out."""

from typing import Any

import pytest

import degeneracy as dg
from degeneracy.studies.study import Study

PLAIN: dict[str, Any] = {
    "name": "tiny",
    "seeds": [0, 1, 2],
    "task": {"name": "flip_flop", "channels": 2},
    "network": {"hidden_size": 6, "cell": "leaky_tanh", "parametrisation": "mup"},
    "training": {"learning_rate": 0.01, "max_epochs": 20, "shared_streams": ["noise"]},
}
# Another value of every field.
OTHERS: dict[str, dict[str, Any]] = {
    "task": {"n_steps": 33, "threshold": 0.5, "channels": 1, "switch_probability": 0.11},
    "network": {
        "hidden_size": 7,
        "cell": "tanh",
        "cell_options": {"tau_ms": 77.0},
        "init_gain": 0.7,
        "parametrisation": "standard",
        "gamma": 2.0,
        "sigma_rec": 0.1,
        "sigma_in": 0.1,
        "recurrent": {"name": "low_rank"},
    },
    "training": {
        "learning_rate": 0.02,
        "batch_size": 3,
        "steps_per_epoch": 5,
        "max_epochs": 21,
        "patience": 2,
        "clip_norm": 0.5,
        "optimiser": {"name": "adamw"},
        "schedule": {"name": "cosine_warm_restarts"},
        "n_fixed_trials": 9,
        "regularisers": {"l1": 1e-3},
        "coupling": {"strength": 0.5},
        "shared_streams": ["data"],
        "checkpoints": [0.5],
        "shared_seed": 3,
    },
}
# What a field's other value needs beside it: another field's other value, so that the two names differ by it alone.
BESIDE = {"recurrent": "parametrisation"}


def name(part: str = "", field: str = "", **changes: Any) -> str:
    plain = PLAIN | changes
    changed = {each: OTHERS[part][each] for each in (field, BESIDE.get(field, field))} if part else {}
    fields = plain | ({part: plain[part] | changed} if part else {})
    [condition] = Study(**fields).conditions()
    return condition.name


def test_every_field_is_changed_below() -> None:
    kinds = {"task": dg.tasks.FlipFlop, "network": dg.Network, "training": dg.Training}
    for part, kind in kinds.items():
        assert OTHERS[part].keys() == kind.model_fields.keys(), part


@pytest.mark.parametrize("part", OTHERS)
def test_every_field_counts(part: str) -> None:
    names = [name(), *(name(part, field) for field in OTHERS[part])]
    assert len(set(names)) == len(names)
    assert name() == name()


def test_seeds_count_only_where_members_are_coupled() -> None:
    coupled = PLAIN["training"] | {"coupling": {"strength": 0.5}}
    assert name() == name(seeds=[0, 1])
    assert name(training=coupled) != name(training=coupled, seeds=[0, 1])
