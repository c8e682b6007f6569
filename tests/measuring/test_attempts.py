"""Measures that end in an error: each costs its own row, which says why, and no other; nothing vanishes in silence."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.analysis import Estimate, Finding, Measure, Measured, Recording
from degeneracy.analysis.measure import MeasureInParts
from degeneracy.core.errors import UserError
from degeneracy.core.workers import Call
from degeneracy.measuring.attempts import attempt
from degeneracy.measuring.measure import build_measures, measure_recording, split_outcome

STATES = [np.random.default_rng(k).normal(size=(8, 9, 3)) for k in range(3)]
RECORDING = Recording(members=("0", "1", "2"), states=STATES)


def refuse() -> Any:
    raise UserError("refused: these states\nhave no such number")


def divide() -> Any:
    return 1 // int(np.sum(STATES[0] > 1e9))


def decompose() -> Any:
    return np.linalg.inv(np.zeros((2, 2)))


def overflow() -> Any:
    return 10.0**400


def underflow() -> Any:
    with np.errstate(all="raise"):
        return np.float64(1e-300) * np.float64(1e-300)


def broadcast() -> Any:
    return np.zeros(2) + np.zeros(3)


def exhaust() -> Any:
    raise MemoryError


def misspell() -> Any:
    return RECORDING.sates  # type: ignore[attr-defined]


FAULTS: dict[Callable[[], Any], str] = {
    refuse: "refused: these states have no such number",
    divide: "ZeroDivisionError: integer division or modulo by zero",
    decompose: "LinAlgError: Singular matrix",
    overflow: "OverflowError: (34, 'Numerical result out of range')",
    underflow: "FloatingPointError: underflow encountered in scalar multiply",
    broadcast: "ValueError: operands could not be broadcast together with shapes (2,) (3,)",
    exhaust: "MemoryError",
    misspell: "AttributeError: 'Recording' object has no attribute 'sates'",
}


class Faulty(Measure):
    """Ends in the error of a function of this file."""

    name: ClassVar[str] = "faulty"
    level: ClassVar[Any] = "dynamics"
    needs: ClassVar[tuple[str, ...]] = ("states",)
    meaning: ClassVar[str] = "nothing"
    zero: ClassVar[str] = "never"
    source: ClassVar[str] = "this test"

    fault: str

    def __call__(self, recording: Recording) -> Measured:  # noqa: ARG002
        return globals()[self.fault]()


class FaultyInParts(MeasureInParts, Faulty):
    """Two sound parts around a faulty one."""

    def parts(self, recording: Recording) -> Sequence[Callable[[], Any]]:
        return [partial(len, recording.states or ()), globals()[self.fault], lambda: None]

    def whole(self, done: Sequence[Any]) -> Measured:
        pytest.fail(f"put together: {done}")

    def __call__(self, recording: Recording) -> Measured:
        return MeasureInParts.__call__(self, recording)


@pytest.fixture
def in_reverse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls come back in another order than they were made in, as from processes."""

    def spread(calls: Sequence[Call], *, jobs: int) -> Any:
        return [call.function(*call.arguments) for call in reversed(list(calls))]

    monkeypatch.setattr("degeneracy.measuring.measure.spread", spread)


@pytest.mark.parametrize(("fault", "reason"), FAULTS.items(), ids=[f.__name__ for f in FAULTS])
@pytest.mark.parametrize(("kind", "jobs"), [(Faulty, 1), (FaultyInParts, 1), (FaultyInParts, 2)])
def test_any_error_of_a_measure_costs_its_own_row_and_is_logged(
    kind: type[Faulty],
    jobs: int,
    fault: Callable[[], Any],
    reason: str,
    in_reverse: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    measures = {"faulty": kind(fault=fault.__name__), **build_measures(["procrustes"])}
    with caplog.at_level(logging.WARNING, logger="degeneracy"):
        found, missing = split_outcome(dict(measure_recording(RECORDING, measures, jobs=jobs)))
    assert list(found) == ["procrustes"]
    assert missing["faulty"] == reason
    if fault is refuse:  # the data's matter, not the program's
        assert not caplog.records
        return
    [record] = caplog.records
    assert record.name == "degeneracy"
    assert record.levelno == logging.WARNING
    for text in ("measure 'faulty'", reason, "test_attempts.py, line ", f"in {fault.__name__}"):
        assert text in record.getMessage()


def test_errors_come_back_from_worker_processes(caplog: pytest.LogCaptureFixture) -> None:
    """Processes do not know this file, only what is installed."""
    measures = build_measures(["dsa", "procrustes", "svcca"], {"dsa": {"rank": 3, "n_delays": 9}})
    broken = Recording(members=RECORDING.members, states=STATES, weights=[None] * 3)  # type: ignore[list-item]
    measures |= build_measures(["pif", "effective_rank"])
    with caplog.at_level(logging.WARNING, logger="degeneracy"):
        found, missing = split_outcome(dict(measure_recording(broken, measures, jobs=2)))
    assert sorted(found) == ["procrustes", "svcca"]
    assert missing["dsa"].startswith("DSA: n_delays = 9 is impossible")
    for name in ("pif", "effective_rank"):
        assert missing[name].startswith("AttributeError: 'NoneType' object has no attribute")
    logged = sorted(record.getMessage() for record in caplog.records)
    assert [text.split("'")[1] for text in logged] == ["effective_rank", "pif"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_stop_is_no_error_of_a_measure(stop: type[BaseException]) -> None:
    def stopped() -> Any:
        raise stop

    with pytest.raises(stop):
        attempt(stopped)


def ours(recording: Recording) -> np.ndarray:
    """A measure of a user's own, with a mistake in it."""
    return np.array([x.shape for x in recording.states or ()])[:, 7]


def test_a_measure_of_the_users_own_that_fails_is_a_note_in_the_table(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="degeneracy"):
        table = dg.measure_arrays(states=STATES, measures=[ours, "cka"]).table
    [row] = table[table["measure"] == "ours"].to_dict("records")
    assert np.isnan(row["value"])
    assert row["note"] == "IndexError: index 7 is out of bounds for axis 1 with size 3"
    assert np.isfinite(table[table["measure"] == "cka"]["value"]).all()
    assert "test_attempts.py" in caplog.text


class Returns(Faulty):
    """Returns what its test says."""

    value: ClassVar[Any]

    def __call__(self, recording: Recording) -> Measured:  # noqa: ARG002
        return type(self).value


SHORT = Measured(findings=(Finding(variant="v", value=Estimate(value=1.0, leave_one_out=np.zeros(2))),))
LONG = Estimate(value=1.0, leave_one_out=np.zeros(4))
FITS = Estimate(value=1.0, leave_one_out=np.zeros(3))
WIDE = Measured(findings=(), distances={"v": np.zeros((3, 2))})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (3.0, "returned a float; a Measured is needed"),
        (SHORT, "returned v with leave_one_out of shape (2,); one number per member, (3,), is needed"),
        *(
            (
                Measured(findings=(Finding(variant="v", value=FITS, **{which: LONG}),)),
                "returned v with leave_one_out of shape (4,); one number per member, (3,), is needed",
            )
            for which in ("floor", "reference")
        ),
        (WIDE, "returned distances 'v' of shape (3, 2); (3, 3) is needed"),
    ],
)
def test_what_the_table_cannot_take_is_said_in_place_of_it(
    value: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Returns, "value", value, raising=False)
    measures = {"faulty": Returns(fault=""), **build_measures(["procrustes"])}
    found, missing = split_outcome(dict(measure_recording(RECORDING, measures)))
    assert list(found) == ["procrustes"]
    assert missing == {"faulty": reason}


class Nothing(FaultyInParts):
    """No parts at all, or parts that return nothing."""

    n_parts: int

    def parts(self, recording: Recording) -> Sequence[Callable[[], Any]]:  # noqa: ARG002
        return [lambda: None] * self.n_parts

    def whole(self, done: Sequence[Any]) -> Measured:
        assert list(done) == [None] * self.n_parts
        return Measured(findings=())


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("n_parts", [0, 3])
def test_parts_may_be_none_and_may_return_nothing(n_parts: int, jobs: int, in_reverse: None) -> None:
    measures = {"nothing": Nothing(fault="", n_parts=n_parts)}
    assert dict(measure_recording(RECORDING, measures, jobs=jobs)) == {"nothing": Measured(findings=())}


def test_a_need_that_no_recording_has_is_refused_before_anything_is_measured() -> None:
    class Misspelt(Faulty):
        name: ClassVar[str] = "misspelt"
        needs: ClassVar[tuple[str, ...]] = ("state",)

    with pytest.raises(UserError, match="measure 'Misspelt': unknown need 'state'; did you mean 'states'"):
        build_measures([Misspelt], {"misspelt": {"fault": ""}})
