"""A run whose networks are measured again trains nothing."""

from pathlib import Path

import pytest
from small_runs import run
from stored import without

from degeneracy import UserError, run_study
from degeneracy.core import files
from degeneracy.runs.loading import remeasured

# --- Measuring a run again -------------------------------------------------------------------------------------


def test_other_measures_of_a_run_train_nothing(tmp_path: Path, trained: list[tuple[int, int]]) -> None:
    out = tmp_path / "run"
    first = run(out)
    trained.clear()
    plan = remeasured(out, ["procrustes", "cka"], [("options.procrustes.alpha", 0.5)])
    again = run_study(plan, out=out, device="cpu", jobs=1, progress=False)
    assert trained == []
    assert list(again.table["measure"].unique()) == ["procrustes", "cka"]
    assert files.read_json(out / "study.json")["study"]["options"] == {"procrustes": {"alpha": 0.5}}
    at_once = run(tmp_path / "at_once", measures=["procrustes", "cka"], options={"procrustes": {"alpha": 0.5}})
    assert (out / "degeneracy.csv").read_bytes() == at_once != first
    assert run(out) == first  # the study as it was brings its table back
    # Options of a measure that is no longer asked for are dropped with it.
    run_study(plan, out=out, device="cpu", jobs=1, progress=False)
    assert remeasured(out, ["cka"]).options == {}
    assert remeasured(out).options == {"procrustes": {"alpha": 0.5}}


@pytest.mark.parametrize("key", ["task.n_steps", "seeds", "vary.task.channels", "training.learning_rate"])
def test_a_trained_run_keeps_what_made_its_members(key: str, alone: Path) -> None:
    with pytest.raises(UserError, match=f"'{key}' cannot be set for a run that is trained: only options, probe"):
        remeasured(alone, [], [(key, 1)])


def test_a_run_without_all_its_members_is_not_measured_again(tmp_path: Path) -> None:
    run(tmp_path / "run")
    without(next((tmp_path / "run").glob("conditions/channels=2-*/members-0001.pack")), "0")
    with pytest.raises(
        UserError, match=r"not finished \(channels=2: 1 of 3 networks are not trained\); start it again"
    ):
        remeasured(tmp_path / "run", ["cka"])
