"""Measure and control solution degeneracy in task-trained recurrent neural networks.

import degeneracy as dg

task     = dg.tasks.FlipFlop(channels=3)
ensemble = dg.train(task, dg.Network(hidden_size=128), dg.Training(), seeds=range(50))
result   = dg.measure(ensemble, task)
result.table
"""

import ast
import importlib
from pathlib import Path
from typing import Any

# Names are imported at their first use, so that `degeneracy --help` need not wait for torch. The stub beside this file
# says where each lives.
_HOMES = {
    alias.name: str(statement.module)
    for statement in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(statement, ast.ImportFrom)
    for alias in statement.names
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'degeneracy' has no attribute '{name}'")
    home = _HOMES[name]
    if home == __name__:
        value: Any = importlib.import_module(f"{home}.{name}")
    else:
        value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return __all__
