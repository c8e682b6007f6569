"""A study on each task that is judged by decisions, from training to the report, kept and read again."""

import re
from pathlib import Path

import numpy as np
import pytest

import degeneracy as dg
from degeneracy.tasks import TASKS

OPTIONS = {
    "dsa": {"rank": 3, "n_delays": 3, "n_starts": 4},
    "pif": {"n_restarts": 2},
    "signed_pif": {"n_restarts": 2},
    "fixed_points": {"n_starts": 16},
}
FIELDS = {
    "streaming_parity": {"n_steps": 8, "threshold": 1.0},
    "perceptual_decision": {
        "n_steps": 20, "fixation_steps": 2, "stimulus_min": 5, "stimulus_max": 10, "threshold": 1.0,
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=FIELDS)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dg.StudyResult, Path]:
    """Every measure on networks that converge at once, and the run directory."""
    name, out = request.param, tmp_path_factory.mktemp(request.param)
    study = dg.Study(
        name=name,
        seeds="0:3",
        task={"name": name, **FIELDS[name]},
        network={"hidden_size": 6},
        training={"batch_size": 16, "steps_per_epoch": 4, "max_epochs": 2, "patience": 0},
        probe={"n_trials": 12},
        options=OPTIONS,
    )
    return name, dg.run_study(study, out=out / "run", jobs=1, progress=False), out / "run"


def test_every_measure_has_a_number_or_a_reason(ran: tuple[str, dg.StudyResult, Path]) -> None:
    name, study, _ = ran
    [result] = study.results
    assert not result.missing
    assert {"accuracy", "accuracy_logit_sd", "decision_disagreement"} < set(result.measured)
    table = result.table
    without = table[table["value"].isna()]
    assert without["note"].str.len().min() > 0 or without.empty
    reasons = {"autonomous": "has no input that means rest"} if name == "streaming_parity" else {}
    assert {variant: reason for variant, reason in reasons.items() if reason in " ".join(without["note"])} == reasons
    errors = next(f for f in result.measured["ood_error_mean"].findings if f.variant == "in_distribution")
    assert errors.unit == "nats"


def test_histories_and_the_stop_are_kept_and_read_again(ran: tuple[str, dg.StudyResult, Path]) -> None:
    name, study, out = ran
    again = dg.load_run(out)
    task = TASKS[name](**FIELDS[name])
    for result in (study.results[0], again.results[0]):
        assert result.spec["stop"] == {"by": "wrong", "under": task.goal()}
        assert result.spec["loss"] == {"label": "binary cross-entropy", "unit": "nats"}
        for member in result.members:
            assert len(member.epoch_wrong) == len(member.epoch_loss)
            assert np.all((member.epoch_wrong > 0) & (member.epoch_wrong < 1))


def test_example_outputs_are_chances_and_targets_stand_where_they_count(
    ran: tuple[str, dg.StudyResult, Path],
) -> None:
    name, study, _ = ran
    examples = study.results[0].examples
    assert examples is not None
    assert ((examples.outputs > 0) & (examples.outputs < 1)).all(), "of logits"
    counts = np.isfinite(examples.targets)
    if name == "perceptual_decision":
        response = examples.inputs[..., 0] == 0
        np.testing.assert_array_equal(counts[..., 0], np.ones_like(response))
        np.testing.assert_array_equal(counts[..., 1], response)
        np.testing.assert_array_equal(examples.scored, response)
    else:
        assert counts.all()


def test_the_report_names_the_loss_and_the_inputs(ran: tuple[str, dg.StudyResult, Path]) -> None:
    name, study, out = ran
    dg.report(study, out / "report.html")
    html = (out / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", " ", re.sub(r"data:image/[^\"']+", "", html))
    assert "training loss (binary cross-entropy, in nats) of the last epoch" in text
    assert "share of wrong decisions" in text
    assert not re.search(r"mean squared error|\bMSE\b|squared output unit|output²", text, re.IGNORECASE)
    assert "Decision disagreement" in text
    figures = {path.name for path in (out / "figures").glob("fixed_points*.png")}
    held = {"streaming_parity": ("token_0", "token_1"), "perceptual_decision": ("none", "fixation")}[name]
    assert figures == {f"fixed_points_{held_input}.png" for held_input in held}
    assert all(f"input {held_input.replace('_', ' ')}" in text for held_input in held)
