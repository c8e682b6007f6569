"""Fixtures of the tests of tuning."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tunes import tuned

from degeneracy.runs import running


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """(learning rate, seed) of every network that was trained."""
    done: list[tuple[float, int]] = []
    real = running.train_members

    def watched(task: Any, network: Any, training: Any, seeds: Any, **rest: Any) -> Iterator[Any]:
        for member in real(task, network, training, seeds, **rest):
            done.append((training.learning_rate, member.seed))
            yield member

    monkeypatch.setattr(running, "train_members", watched)
    return done


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tune that nothing disturbed."""
    out = tmp_path_factory.mktemp("alone") / "tuned"
    assert tuned(out, target=0.1).status == "reached"
    return out
