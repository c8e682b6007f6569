"""A measure of the user's own: a function of a recording, or an object with netrep's `fit_score`."""

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
import pydantic

from degeneracy.analysis.dynamics.layout import shape
from degeneracy.analysis.measure import LEVELS, Level, Measure, Measured
from degeneracy.analysis.recording import Array, Recording
from degeneracy.analysis.statistics import by_name, jackknife
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.numeric import real_array

# What a function may say of itself, by attributes of these names; see `Measure`.
CARD = ("level", "title", "unit", "meaning", "zero", "source", "floor", "reference", "methods")


class _Own(Measure):
    """Calls `thing`; its options, whatever they are called, go to the function as keywords."""

    model_config = pydantic.ConfigDict(extra="allow")

    level: ClassVar[Level] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ()
    meaning: ClassVar[str] = "the user's own"
    zero: ClassVar[str] = "as its author says"
    source: ClassVar[str] = "the user's own"
    thing: ClassVar[Any]

    @pydantic.model_validator(mode="after")
    def _options_are_taken(self) -> "_Own":
        given = self.model_extra or {}
        thing: Any = type(self).thing
        if given and hasattr(thing, "fit_score"):
            raise UserError(f"measure '{self.name}': a metric with fit_score takes no options; set them in the metric")
        if hasattr(thing, "fit_score"):
            return self
        try:
            inspect.signature(thing).bind(None, **given)
        except TypeError as error:
            raise UserError(f"measure '{self.name}': {error}") from None
        except ValueError:  # a function of C, which does not say what it takes
            pass
        return self

    def __call__(self, recording: Recording) -> Measured:
        """(member, member): a pairwise distance; (member,): one number per member, of which the mean is taken."""
        value = self._values(recording)
        if value.ndim == 1:
            mean = by_name.finding("own", "mean", value, of="own", unit=self.unit)
            return Measured(findings=(mean,), arrays={"own": value})
        floor, reference = jackknife.constant(0.0, len(recording)), None
        if recording.untrained is not None:
            reference = jackknife.pair_mean(self._values(recording.untrained))
        fields = {"floor": floor, "reference": reference, "unit": self.unit}
        mean = by_name.finding("own", "pair_mean", value, of="own", **fields)
        return Measured(findings=(mean,), distances={"own": value})

    def _values(self, recording: Recording) -> Array:
        thing: Any = type(self).thing
        if hasattr(thing, "fit_score"):
            if recording.states is None:
                raise UserError(f"measure '{self.name}': a metric with fit_score needs states, which were not given")
            return shape.metric_distances(thing, recording.states)
        value = real_array(thing(recording, **(self.model_extra or {})), f"measure '{self.name}'")
        n = len(recording)
        if value.shape not in ((n, n), (n,)):
            raise UserError(
                f"measure '{self.name}': returned shape {value.shape}; needed is ({n}, {n}), a distance of every "
                f"pair of members, or ({n},), a number per member"
            )
        if value.ndim == 2:
            self._check_distances(value, recording.members)
        return value

    def _check_distances(self, value: Array, members: tuple[str, ...]) -> None:
        """Refuse what is no distance between members: negative, or another one from b to a than from a to b."""
        off = value.copy()
        np.fill_diagonal(off, 0.0)
        largest = np.nanmax(np.abs(off), initial=0.0)
        if (off < 0).any():
            a, b = np.argwhere(off < 0)[0]
            raise UserError(
                f"measure '{self.name}': the distance of members {members[a]} and {members[b]} is {off[a, b]:.4g};"
                " a distance is 0 or more (1 - similarity, say)"
            )
        # What a sum in another order leaves in single precision, and no difference that anybody means.
        uneven = np.abs(off - off.T) > 1e-5 * largest
        if uneven.any():
            a, b = np.argwhere(uneven)[0]
            raise UserError(
                f"measure '{self.name}': members {members[a]} and {members[b]} are {off[a, b]:.4g} apart one way and"
                f" {off[b, a]:.4g} the other; a distance is the same both ways (take the mean of both, say)"
            )


def card_of(measure: Measure) -> dict[str, Any]:
    """What a measure says of itself, as plain data: the fields of `CARD`, and the titles of its variants."""
    said: dict[str, Any] = {field: getattr(measure, field) for field in CARD}
    with suppress(LookupError, ValueError):  # braces that name no option stay as they are
        said["methods"] = measure.methods_sentence()
    return said | {"variant_titles": dict(measure.variant_titles)}


def as_measure(name: str, thing: Any) -> type[Measure]:
    """The measure class of the user's own object.

    Args:
        name: how the user called it (`module:Name` or a metric's class); its last part names the measure.
        thing: a subclass of `Measure`; a function `(recording, **options)` that returns (member, member) or
            (member,); or an object with `fit_score`. Its attributes that are named in `CARD` (`level`, if it is not
            of dynamics, `title`, `unit`, ...) are those of the measure.

    Raises:
        UserError: none of these, or a `Measure` that needs what no recording has.
    """
    if isinstance(thing, type) and issubclass(thing, Measure):
        for need in thing.needs:
            if need not in Recording.__dataclass_fields__:
                raise unknown_name("need", need, Recording.__dataclass_fields__, where=f"measure '{name}'")
        return thing
    if not (callable(thing) or hasattr(thing, "fit_score")) or isinstance(thing, type):
        raise UserError(
            f"measure '{name}': a subclass of Measure, a function of a recording or an object with fit_score is needed"
        )
    call: Callable[..., Any] | Any = staticmethod(thing) if not hasattr(thing, "fit_score") else thing
    short = name.rpartition(":")[2]
    card = {field: text for field in CARD if isinstance(text := getattr(thing, field, None), str)}
    if card.get("level", LEVELS[0]) not in LEVELS:
        raise unknown_name("level", card["level"], LEVELS, where=f"measure '{name}'")
    return type(
        short,
        (_Own,),
        card
        | {
            "name": short,
            "thing": call,
            "__doc__": thing.__doc__ or short,
            "__annotations__": {},
        },
    )
