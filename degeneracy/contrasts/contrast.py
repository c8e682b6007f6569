"""One finding's contrast over the levels of a factor, on one scale: its effect, and what margins are of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.statistics.contrasts import Effect, bends, joint_p, linear_contrast, trend_weights
from degeneracy.analysis.statistics.jackknife import Scale, transformed, untransformed
from degeneracy.analysis.statistics.power import POWER, equivalence_errors, visible_errors
from degeneracy.analysis.statistics.resolution import share_of_distance
from degeneracy.analysis.statistics.verdicts import ALPHA, equivalent
from degeneracy.contrasts.factor_grid import ConditionEstimates

# What a margin is a share of: the value, the value by a ratio (of standard deviations), the distance whose square the
# value is, or the way from floor to reference.
Kind = Literal["value", "ratio", "squares", "calibrated"]
MOST_NETWORKS = 10_000  # beyond which no number of networks is named


@dataclass(frozen=True)
class Contrast:
    """The estimates of a factor's levels and what they are."""

    taken: ConditionEstimates
    kind: Kind

    @property
    def scale(self) -> Scale:
        """The scale on which changes are."""
        return "log" if self.kind == "ratio" else "linear"

    @cached_property
    def effect(self) -> Effect:
        """The change from the lowest to the highest level along the line."""
        return _effect(self.taken, self.scale)

    @cached_property
    def at_lowest(self) -> float:
        """The value at the lowest level that is kept: mean over the other factors, of ratios the geometric."""
        lowest = [e.value for (_, level), e in self.taken.estimates.items() if level == self.taken.levels[0]]
        if not lowest:
            return float("nan")
        return float(untransformed(transformed(np.array(lowest), self.scale).mean(), self.scale))

    @property
    def p_bend(self) -> float:
        """The p value of "the levels lie on a line", NaN for fewer than 3."""
        if len(self.taken.levels) < 3:
            return float("nan")
        estimates, labels = list(self.taken.estimates.values()), list(self.taken.labels.values())
        return joint_p(estimates, labels, _over_blocks(self.taken, bends(self.taken.levels)), self.scale)

    def sizes(self, margin: float) -> tuple[float, float]:
        """How far up and down a margin lets the effect go, in its unit.

        A margin that is a share m of a distance d lets d^2 come to (1 + m)^2 d^2 and (1 - m)^2 d^2.
        """
        if self.kind in ("calibrated", "ratio"):
            size = margin if self.kind == "calibrated" else float(np.log1p(margin))
            return size, size
        up, down = _shares(margin, self.kind)
        return up * abs(self.at_lowest), down * abs(self.at_lowest)

    def beyond(self, margin: float) -> tuple[Effect, Effect]:
        """The effect less the margin, and the effect and the margin, whose signs two one-sided tests ask about.

        Margins that are shares of a measured value are contrasts that count how well it is known: of squared distances
        d^2 at the lowest level, change - ((1 + m)^2 - 1) d^2 and change + (1 - (1 - m)^2) d^2 (from m = 1 on: the
        highest value).
        """
        if self.kind in ("calibrated", "ratio"):
            size, _ = self.sizes(margin)
            return self.effect.shifted(-size), self.effect.shifted(size)
        up, down = _shares(margin, self.kind)
        sign = np.sign(self.at_lowest)
        return _effect(self.taken, self.scale, -up * sign), _effect(self.taken, self.scale, down * sign)

    def is_flat(self, margin: float) -> bool:
        """Whether both tests exclude a change as large as the margin."""
        return equivalent(*self.beyond(margin))

    def visible(self, n_members: int, alpha: float = ALPHA, power: float = POWER) -> float:
        """The smallest change that so many members per level show with this power, in the unit of the effect.

        The standard error falls as one over the root of the members, as in `width_against_n`.
        """
        return visible_errors(n_members - 1, alpha, power) * self._error(self.effect, n_members)

    def flat_margin(self, n_members: int, power: float = POWER) -> float:
        """The smallest margin, as a study file writes it, within which no change is called flat with this power.

        NaN where none below 10 is.
        """

        def enough(margin: float) -> bool:
            errors = equivalence_errors(n_members - 1, ALPHA, power)
            sides = zip(self.beyond(margin), self.sizes(margin), strict=True)
            return all(errors * self._error(side, n_members) <= size for side, size in sides)

        return _least(enough, 0.0, 10.0, 1e-4)

    def deciding(self, margin: float, alpha: float = ALPHA, power: float = POWER) -> float:
        """The members per level that decide between no change and one as large as the margin, each with this power.

        Without a margin, those that show a change as large as the one estimated. NaN where no number up to
        `MOST_NETWORKS` does.
        """
        n, errors = self.effect.df + 1, [self.effect.standard_error]
        needed = min(self.sizes(margin)) if margin else abs(self.effect.change)
        if margin:
            errors = [side.standard_error for side in self.beyond(margin)]
        if not np.isfinite([self.effect.standard_error, *errors, needed]).all():
            return float("nan")

        def enough(members: float) -> bool:
            m = int(members)
            shrunk = np.sqrt(n / m)
            seen = visible_errors(m - 1, alpha, power) * self.effect.standard_error * shrunk <= needed
            flat = not margin or equivalence_errors(m - 1, ALPHA, power) * max(errors) * shrunk <= needed
            return bool(seen and flat)

        return float(np.ceil(_least(enough, 3, MOST_NETWORKS, 0.5)))

    def as_share(self, change: float) -> float:
        """A change in the unit of the effect as a share of the value at the lowest level, as margins are."""
        if self.kind == "calibrated":
            return change
        if self.kind == "ratio":
            return float(np.expm1(change))
        if self.kind == "squares":
            return float(share_of_distance(change, self.at_lowest))
        return change / abs(self.at_lowest) if self.at_lowest else float("nan")

    def _error(self, side: Effect, n_members: int) -> float:
        return side.standard_error * float(np.sqrt((self.effect.df + 1) / n_members))


def _shares(margin: float, kind: Kind) -> tuple[float, float]:
    """How far up and down, as shares of the value, which may be a square."""
    return (margin, margin) if kind == "value" else ((1 + margin) ** 2 - 1, 1 - max(1 - margin, 0.0) ** 2)


def _least(enough: Callable[[float], bool], low: float, high: float, within: float) -> float:
    """The least number between two that is enough, to within so much, where all above it are; NaN where none is."""
    if not enough(high):
        return float("nan")
    if enough(low):
        return low
    while high - low > within:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _effect(taken: ConditionEstimates, scale: Scale, share: float = 0.0) -> Effect:
    """The contrast over the levels that are kept, averaged over the combinations of the other factors.

    `share` of the value at the lowest level is added to it.
    """
    if not taken.estimates:
        return Effect(change=float("nan"), standard_error=float("nan"), df=1, scale=scale)
    # Levels keep their ranks where one between them is left out.
    of_level = trend_weights(taken.levels)
    of_level[0] += share
    estimates, labels = list(taken.estimates.values()), list(taken.labels.values())
    return linear_contrast(estimates, labels, _over_blocks(taken, of_level), scale)


def _over_blocks(taken: ConditionEstimates, of_level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (..., condition) from those of the levels, (..., level): the same in every combination of the others."""
    columns = [taken.levels.index(level) for _, level in taken.estimates]
    return of_level[..., columns] * len(taken.levels) / len(columns)
