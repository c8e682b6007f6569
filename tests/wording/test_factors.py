"""Factors and their levels in words."""

import pytest

from degeneracy.wording.factors import factor_name, level_text


def test_the_last_part_names_a_factor() -> None:
    assert factor_name("task.switch_probability") == "switch probability"
    assert factor_name("task") == "task"


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (3, "3"),
        (0.0003, "0.0003"),
        (True, "True"),
        ([], "none"),
        (["data", "noise"], "data+noise"),
        ((0.5, 1.0), "0.5+1"),
        ({"name": "cosine", "period": 3}, "cosine"),
        ({"period": 3}, "{'period': 3}"),
    ],
)
def test_levels(level: object, said: str) -> None:
    assert level_text(level) == said
