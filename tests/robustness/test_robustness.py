"""The programs in their short form; and that they see what they are there to see."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from degeneracy.core.errors import UserError
from robustness import __main__ as command
from robustness import numbers
from robustness.array_truths import ill_formed, measured, trajectories
from robustness.damage import DamagedRuns
from robustness.file_damage import BYTES, damaged
from robustness.framework import REFUSED, RIGHT, SILENT, TRACEBACK, Answer, attempt, attempt_command, snapshot
from robustness.limits import memory_limit, time_limit
from robustness.programs import PROGRAMS
from robustness.running import run_cases, workplace


@pytest.fixture
def folder() -> Iterator[Path]:
    with workplace() as place:
        yield place


@pytest.mark.parametrize("name", PROGRAMS)
def test_short_form(name: str, folder: Path) -> None:
    program = PROGRAMS[name](folder / name)
    tally = run_cases(program, range(program.short))
    assert not tally.failed, "\n".join(
        f"{cause.kind} {cause.count} times, {name} --case {cause.case}: {cause.what}: {cause.said}"
        for cause in tally.causes
    )
    assert len(tally.outcomes) == program.short
    if name != "kills":  # which refuse nothing
        assert {outcome.kind for outcome in tally.outcomes.values()} == {REFUSED, RIGHT}


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "kills"])  # whose moments vary
def test_a_case_is_the_same_every_time(name: str, folder: Path) -> None:
    program = PROGRAMS[name](folder / name)
    first, again = (run_cases(program, range(3, 8)) for _ in range(2))
    assert first.outcomes == again.outcomes
    assert len({outcome.what for outcome in first.outcomes.values()}) > 1


class TestWhatIsSeen:
    """A fault of each kind is one, and what is right is none."""

    def test_numbers(self) -> None:
        x = np.array([0.1, np.nan])
        assert numbers.difference({"a": x, "b": {"c": [1, "x"]}}, {"a": x.copy(), "b": {"c": [1, "x"]}}) == ""
        for other in (x + np.array([2e-17, 0]), x.astype(np.float32), x[:1], list(x), None):
            assert numbers.difference({"a": x}, {"a": other}), other
        assert numbers.difference({"a": [1, {"b": 2.0}]}, {"a": [1, {"b": 3.0}]}) == "a: 3.0 in place of 2.0"
        assert "alone" in numbers.difference({"a": 1}, {"a": 1, "b": 2})

    def test_errors(self) -> None:
        class Said(UserError):
            """With the lines of its text, whatever its parent makes of them."""

            def __init__(self, text: str) -> None:
                super().__init__(text)
                self.text = text

            def __str__(self) -> str:
                return self.text

        def refuse(text: str) -> None:
            raise Said(text)

        assert attempt(lambda: refuse("no such file")).outcome("x").kind == REFUSED
        assert attempt(lambda: refuse("no\nsuch file")).outcome("x").kind == TRACEBACK
        assert attempt(lambda: refuse("no\u2028such file")).outcome("x").kind == TRACEBACK
        assert attempt(lambda: 1 // 0).outcome("x").kind == TRACEBACK
        assert attempt(lambda: 1).outcome("x").kind == RIGHT
        assert attempt(lambda: 1).outcome("x", wrong="2 in place of 1").kind == SILENT

    def test_warnings_of_the_package_are_errors(self) -> None:
        def warn(module: str) -> None:
            warnings.warn_explicit("overflow", RuntimeWarning, "x.py", 1, module=module)

        assert attempt(lambda: warn("degeneracy.analysis.x")).fault
        assert not attempt(lambda: warn("numpy.x")).fault

    def test_what_does_not_end(self) -> None:
        def for_ever() -> None:
            while True:
                pass

        with time_limit(0.05):
            assert attempt(for_ever).cause.startswith("no end")

    def test_what_takes_all_memory(self) -> None:
        with memory_limit(1.0):
            assert attempt(lambda: np.ones(2**30)).cause.startswith("MemoryError")

    def test_command_lines(self) -> None:
        assert attempt_command(["runn"]).refusal.startswith("degeneracy: unknown command 'runn'")
        assert attempt_command(["--version"]).value[0] == 0

    def test_results(self) -> None:
        result = measured({"states": trajectories(np.random.default_rng(0))}, ["procrustes"])
        assert ill_formed(result) == ""
        distances = result.measured["procrustes"].distances["driven"]
        distances[0, 1] *= -1
        assert "negative" in ill_formed(result)
        distances[0, 1], distances[1, 1] = -distances[0, 1], 0.1
        assert "distance 0 from itself" in ill_formed(result)

    def test_files(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("x", encoding="utf-8")
        before = snapshot(tmp_path)
        (tmp_path / "a").write_text("y", encoding="utf-8")
        assert snapshot(tmp_path) != before

    @pytest.mark.parametrize("how", BYTES)
    def test_damage_changes_the_bytes(self, how: str) -> None:
        data = b'{"status":"converged","n":3}' + np.arange(100.0).tobytes()
        rng = np.random.default_rng(0)
        assert any(BYTES[how](rng, data) != data for _ in range(10))
        assert all(damaged(rng, data)[1] != data for _ in range(100))

    def test_another_number_in_a_run(self, folder: Path) -> None:
        """With what is right off by the last bit, every case that is taken is a silent one."""
        program = DamagedRuns(folder / "runs")
        for known in (program.numbers, program.numbers_of_run, program.numbers_of_ensemble):
            key = next(key for key, value in known.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f")
            known[key] = known[key] + np.spacing(known[key])
        kinds = {outcome.kind for outcome in run_cases(program, range(30)).outcomes.values()}
        assert SILENT in kinds
        assert RIGHT not in kinds


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PROGRAMS["archives"], "case", lambda *_: Answer().outcome("nothing"))
    out = tmp_path / "results.json"
    assert command.main(["archives", "--cases", "3", "--out", str(out)]) == 0
    assert json.loads(out.read_text(encoding="utf-8"))["archives"] | {"seconds": 0} == {
        "tried": 3, "refused": 0, "right": 3, "SILENT": 0, "TRACEBACK": 0, "seconds": 0, "causes": [],
    }  # fmt: skip
    monkeypatch.setattr(PROGRAMS["archives"], "case", lambda *_: attempt(lambda: 1 // 0).outcome("a case"))
    assert command.main(["archives", "--case", "7"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert command.main(["archive"]) == 2
