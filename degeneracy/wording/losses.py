"""What networks were trained by, in words and numbers: the loss of their task, and what stopped their training."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degeneracy.core.errors import one_line
from degeneracy.measuring.results import MemberSummary, Result
from degeneracy.wording.names import short_unit

WRONG = "share of wrong decisions"


@dataclass(frozen=True, kw_only=True)
class Stop:
    """What training was stopped by: a mean over the epoch, and what it had to be under."""

    by: str  # "loss" or "wrong"
    under: float

    def course(self, member: MemberSummary) -> NDArray[np.float64]:
        """What the member was judged by, epoch by epoch."""
        return np.asarray(member.epoch_wrong if self.by == "wrong" else member.epoch_loss, dtype=float)


def stop(result: Result) -> Stop | None:
    """What stopped the training of a condition's networks; None where that is not known."""
    said = _part(result, "stop")
    return Stop(by=str(said["by"]), under=float(said["under"])) if said else None


def loss_name(results: Sequence[Result]) -> str:
    """What the loss of the conditions' tasks is called; "loss" where that is not known."""
    names = dict.fromkeys(str(_part(result, "loss").get("label", "loss")) for result in results)
    return one_line(" or ".join(names))


def loss_unit(results: Sequence[Result]) -> str:
    """The unit of the conditions' losses; empty where they differ, or where it is not known."""
    units = {str(_part(result, "loss").get("unit", "")) for result in results}
    return one_line(units.pop()) if len(units) == 1 else ""


def loss_in_unit(results: Sequence[Result]) -> str:
    """The loss with its unit, in a sentence: "binary cross-entropy, in nats"."""
    unit = loss_unit(results)
    return f"{loss_name(results)}, in {unit}" if unit else loss_name(results)


def loss_axis(results: Sequence[Result]) -> str:
    """An axis label: the loss, and below it its unit, where all have the same."""
    name, unit = textwrap.fill(loss_name(results), 26), loss_unit(results)
    return f"{name}\n({short_unit(unit)})" if unit else name


def course_name(results: Sequence[Result]) -> str:
    """What is drawn of training: the loss, or the share of wrong decisions where that stopped it."""
    by_wrong = [(line := stop(result)) is not None and line.by == "wrong" for result in results]
    others = [result for result, wrong in zip(results, by_wrong, strict=True) if not wrong]
    return " or ".join(([loss_name(others)] if others else []) + [WRONG] * any(by_wrong))


def _part(result: Result, name: str) -> Mapping[str, Any]:
    said = result.spec.get(name)
    return said if isinstance(said, Mapping) else {}
