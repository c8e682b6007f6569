"""Numbers as text: as many digits as their intervals allow, a dash for what is not there."""

import math
from collections.abc import Sequence
from itertools import pairwise

DASH = "—"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits; '—' for NaN."""
    if not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    return _fixed(value, digits - 1 - size) if -4 <= size < 6 else _power(value, digits - 1)


def with_interval(value: float, low: float, high: float) -> str:
    """'value [low, high]'; the value alone where it has no interval."""
    if not (math.isfinite(value) and math.isfinite(low) and math.isfinite(high)):
        return number(value)
    return f"{_like(value, value, low, high)} [{_like(low, value, low, high)}, {_like(high, value, low, high)}]"


def at_ticks(values: Sequence[float]) -> list[str]:
    """Numbers at the ticks of an axis: digits as all of them need, one power of ten if they are very small or large."""
    largest = max(map(abs, values), default=0.0)
    if not largest:
        return ["0" for _ in values]
    size = math.floor(math.log10(largest) + 1e-9)  # 1e-9: a tick at 1000 is a little off
    power = 0 if -4 <= size < 5 else size
    scaled = [value / 10.0**power for value in values]
    step = min((b - a for a, b in pairwise(sorted(set(scaled)))), default=abs(scaled[0]))
    exact = (d for d in range(15) if all(abs(round(x, d) - x) < 1e-3 * step for x in scaled))
    decimals, times = next(exact, 15), f"×{power_of_ten(power)}" if power else ""
    return [_fixed(x, decimals) + times if abs(x) > 1e-3 * step else "0" for x in scaled]


def _like(number_: float, value: float, low: float, high: float) -> str:
    """Rounded to two significant digits of the shorter arm of the interval (they differ on the log scale)."""
    arm = min(value - low, high - value)
    if arm <= 0 or not 1e-4 <= max(abs(low), abs(high)) < 1e6:
        return number(number_)
    return _fixed(number_, 1 - math.floor(math.log10(arm)))


def _fixed(value: float, decimals: int) -> str:
    rounded = round(value, decimals) + 0.0  # + 0.0: no minus before a zero
    return f"{rounded:.{max(decimals, 0)}f}".replace("-", "−")


def _power(value: float, decimals: int) -> str:
    mantissa, exponent = f"{value:.{decimals}e}".split("e")
    return f"{mantissa}×{power_of_ten(int(exponent))}".replace("-", "−")


def power_of_ten(exponent: int) -> str:
    """10 with its exponent above it."""
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"
