"""Mistakes in what is asked of `degeneracy tune`, one table."""

from pathlib import Path

import pytest
from mistakes import STUDY, Mistake, a_file, assert_is_met, study

TUNE = "tune tiny.toml --knob training.learning_rate --measure procrustes --target 0.3 --low 0.001 --high 0.1"
FIXED = a_file("tiny.toml", STUDY.replace("vary.task.channels = [1, 2]", "").replace("0:2", "0:3"))

MISTAKES = {
    "no target": Mistake(
        command="tune quickstart --knob network.gamma --measure dsa --low 1 --high 2",
        says=r"arguments are required: --target \(see 'degeneracy tune --help'\)",
    ),
    "target type": Mistake(command=f"{TUNE} --target high", prepare=FIXED, says=r"--target: invalid float value"),
    "target": Mistake(command=f"{TUNE} --target nan", prepare=FIXED, says=r"tune: target = nan is wrong: a finite"),
    "knob": Mistake(
        command=f"{TUNE} --knob network.gama",
        prepare=FIXED,
        says=r"Network: unknown key 'gama'; did you mean 'gamma'\?",
    ),
    "knob of a standard network": Mistake(
        command=f"{TUNE} --knob network.gamma",
        prepare=FIXED,
        says=r"Network: gamma = 0.001 has a meaning under parametrisation 'mup' only",
    ),
    "knob's regulariser": Mistake(
        command=f"{TUNE} --knob training.regularisers.nucler",
        prepare=FIXED,
        says=r"unknown regulariser 'nucler'; did you mean 'nuclear'\?",
    ),
    "knob's part": Mistake(
        command=f"{TUNE} --knob probe.kick",
        prepare=FIXED,
        says=r"tune: knob 'probe.kick': unknown part 'probe' \(known: network, task, training\)",
    ),
    "knob that is a part": Mistake(
        command=f"{TUNE} --knob network",
        prepare=FIXED,
        says=r"tune: knob 'network' is a whole part; name one of its fields, as network.FIELD",
    ),
    "knob that is no key": Mistake(command=f"{TUNE} --knob a..b", prepare=FIXED, says=r"'a..b' is no key"),
    "knob that is a name": Mistake(
        command=f"{TUNE} --knob network.cell",
        prepare=FIXED,
        says=r"tune: knob 'network.cell' is no number: it is 'tanh'",
    ),
    "knob that is a table": Mistake(
        command=f"{TUNE} --knob training.schedule",
        prepare=FIXED,
        says=r"tune: knob 'training.schedule' is no number: it is \{'name': 'constant'\}",
    ),
    "whole knob": Mistake(
        command=f"{TUNE} --knob network.hidden_size",
        prepare=FIXED,
        says=r"Network: hidden_size = 0.001 is wrong: Input should be a valid integer",
    ),
    "knob out of range": Mistake(
        command=f"{TUNE} --low -1",
        prepare=FIXED,
        says=r"Training: learning_rate = -1.0 is wrong: Input should be greater than 0",
    ),
    "knob too small for the measure": Mistake(
        command=f"{TUNE} --measure dsa --knob network.hidden_size --low 2 --high 8 --set options.dsa.n_delays=2"
        " --set options.dsa.rank=12 --set measures=['dsa']",
        prepare=FIXED,
        says=r"dsa.*rank = 12",
    ),
    "low over high": Mistake(
        command=f"{TUNE} --low 2",
        prepare=FIXED,
        says=r"tune: low = 2 and high = 0.1 are wrong: low < high is needed",
    ),
    "low is high": Mistake(command=f"{TUNE} --low 0.1", prepare=FIXED, says=r"low = 0.1 and high = 0.1 are wrong"),
    "infinite high": Mistake(command=f"{TUNE} --high inf", prepare=FIXED, says=r"low < high is needed, both finite"),
    "log of nothing": Mistake(
        command=f"{TUNE} --log --low 0",
        prepare=FIXED,
        says=r"tune: low = 0 is wrong: a logarithmic scale needs low > 0",
    ),
    "tolerance": Mistake(
        command=f"{TUNE} --tolerance 0",
        prepare=FIXED,
        says=r"tune: tolerance = 0.0 is wrong: a number above 0",
    ),
    "too many evaluations": Mistake(
        command=f"{TUNE} --max-evaluations 9",
        prepare=FIXED,
        says=r"tune: max_evaluations = 9 is wrong: 2 to 8",
    ),
    "two members": Mistake(
        command=f"{TUNE} --seeds 0:2",
        prepare=FIXED,
        says=r"tune: 2 seeds are wrong: an interval needs 3 members or",
    ),
    "tuned measure": Mistake(
        command=f"{TUNE} --measure procrustis",
        prepare=FIXED,
        says=r"unknown measure 'procrustis'; did you mean 'procrustes'\?",
    ),
    "tuned variant": Mistake(
        command=f"{TUNE} --variant drive",
        prepare=FIXED,
        says=r"tune: procrustes: unknown variant 'drive'; did you mean 'driven'\?",
    ),
    "tuned variant of behavior": Mistake(
        command=f"{TUNE} --measure output_distance --variant length_3x",
        prepare=FIXED,
        says=r"tune: output_distance: unknown variant 'length_3x'; did you mean 'length_2x'\?",
    ),
    "study that varies": Mistake(
        command=TUNE,
        prepare=study('"0:2"', '"0:3"'),
        says=r"tune: the study varies task.channels too, and a knob is tuned in one condition; take it out: "
        r"--set vary=\{\} --set claims=\{\}$",
    ),
    "tune in a run": Mistake(
        command=f"{TUNE} --out run", prepare=FIXED, says=r"run holds something else \(it has no tuning.json\)"
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake(
    mistake: Mistake,
    finished: dict[str, bytes | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_is_met(mistake, tmp_path, finished, monkeypatch, capsys)
