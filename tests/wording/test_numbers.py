"""Numbers as text."""

import pytest

from degeneracy.wording import numbers

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.123"),
        (12345.6, "12300"),
        (-0.5, "−0.500"),
        (0.0, "0"),
        (3.2e-7, "3.20×10⁻⁷"),
        (-4.5e8, "−4.50×10⁸"),
        (0.00999, "0.00999"),
        (NAN, "—"),
        (float("inf"), "—"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        # half-width 0.105: two of its digits are 0.10 or 0.11, so two decimals
        (0.7634, 0.6587, 0.8687, "0.76 [0.66, 0.87]"),
        (0.8181, 0.7671, 0.8691, "0.818 [0.767, 0.869]"),
        (1234.5, 1100.2, 1368.8, "1230 [1100, 1370]"),
        (0.001, -0.04, 0.042, "0.001 [−0.040, 0.042]"),
        (-0.0001, -0.5, 0.5, "0.00 [−0.50, 0.50]"),
        (0.1234, 0.0123, 1.6521, "0.12 [0.01, 1.65]"),  # the lower arm, 0.11, decides
        (2.0, NAN, NAN, "2.00"),
        (NAN, NAN, NAN, "—"),
        (3e-7, 2e-7, 4e-7, "3.00×10⁻⁷ [2.00×10⁻⁷, 4.00×10⁻⁷]"),
    ],
)
def test_digits_follow_the_interval(value: float, low: float, high: float, text: str) -> None:
    assert numbers.with_interval(value, low, high) == text


@pytest.mark.parametrize(
    ("ticks", "texts"),
    [
        ([-0.05, 0.0, 0.05], ["−0.05", "0", "0.05"]),
        ([0.5, 1.0, 1.5], ["0.5", "1.0", "1.5"]),
        ([0.1 * k for k in range(4)], ["0", "0.1", "0.2", "0.3"]),  # 0.30000000000000004
        ([1000.0, 1500.0], ["1000", "1500"]),
        ([0.0, 0.0002, 0.0004], ["0", "0.0002", "0.0004"]),
        ([0.0, 2e-5, 4e-5], ["0", "2×10⁻⁵", "4×10⁻⁵"]),
        ([0.0, 50000.0, 100000.0], ["0", "0.5×10⁵", "1.0×10⁵"]),
        ([1.5e-17, 0.25], ["0", "0.25"]),  # rounding
        ([3.25], ["3.25"]),
        ([0.0], ["0"]),
        ([], []),
    ],
)
def test_ticks_have_the_digits_that_tell_them_apart(ticks: list[float], texts: list[str]) -> None:
    assert numbers.at_ticks(ticks) == texts
