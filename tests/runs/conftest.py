"""A small run that nothing disturbed, and which of its networks were trained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import run

from degeneracy.runs import running


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("alone") / "run"
    run(out)
    return out


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(channels, seed) of every network whose training was asked for."""
    asked: list[tuple[int, int]] = []
    real = running.train_members

    def watched(task: Any, network: Any, training: Any, seeds: Any, **rest: Any) -> Iterator[Any]:
        for member in real(task, network, training, seeds, **rest):
            asked.append((task.channels, member.seed))
            yield member

    monkeypatch.setattr(running, "train_members", watched)
    return asked
