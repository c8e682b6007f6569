"""Factors and their levels in words."""

from collections.abc import Mapping
from typing import Any

from degeneracy.core.errors import one_line


def factor_name(factor: str) -> str:
    """The part of a factor's name that a reader needs: 'task.switch_probability' is 'switch probability'."""
    return one_line(factor.rpartition(".")[2].replace("_", " "))


def level_text(level: Any) -> str:
    """A factor's level: a table by its name, a list by its entries joined with '+' ('none' without any);
    control characters are escaped."""
    if isinstance(level, Mapping):
        return one_line(level.get("name", dict(level)))
    if isinstance(level, list | tuple):
        return "+".join(map(level_text, level)) or "none"
    return f"{level:g}" if isinstance(level, float) else one_line(level)
