"""Mistakes on the command line and in study files, one table."""

import os
from pathlib import Path

import pytest
from mistakes import RUN, STUDY, Mistake, a_file, assert_is_met, study

MISTAKES = {
    # --- the command line
    "command": Mistake(command="rnu", says=r"unknown command 'rnu'; did you mean 'run'\? \(known: cells, "),
    "no study": Mistake(command="run", says=r"arguments are required: STUDY \(see 'degeneracy run --help'\)"),
    "option": Mistake(command="run quickstart --sed 1", says=r"unrecognized arguments: --sed 1 \(see"),
    "abbreviation": Mistake(command="run quickstart --devic cpu", says=r"unrecognized arguments: --devic cpu"),
    "no value": Mistake(command="run quickstart --set seeds", says=r"--set seeds: write KEY=VALUE, e.g. "),
    "no key": Mistake(command="run quickstart --set =3", says=r"--set =3: write KEY=VALUE"),
    "damaged value": Mistake(command="run quickstart --set a=[1,b]", says=r"--set a=\[1,b\]: the value is no TOML"),
    "damaged key": Mistake(command="run quickstart --set a..b=1", says=r"'a..b' is no key: write part.field, such"),
    "key too deep": Mistake(command="run quickstart --set name.x=1", says=r"'name.x': 'name' has no fields"),
    "jobs": Mistake(command="run quickstart --jobs 0", says=r"jobs = 0 is wrong: a number of processes, 1 or more"),
    "jobs type": Mistake(command="run quickstart --jobs two", says=r"--jobs two: a number of processes is needed"),
    "device": Mistake(command="run quickstart --device gpu", says=r"unknown device 'gpu'; did you mean 'cpu'\?"),
    "no cuda": Mistake(
        command="run quickstart --device cuda",
        says=r"device 'cuda': no CUDA device is available here \(use 'auto'",
    ),
    # --- the study file
    "study name": Mistake(
        command="run quickstrt",
        says=r"no such file, and: unknown study 'quickstrt'; did you mean 'quickstart'\?",
    ),
    "study file": Mistake(command="run no.toml", says=r"cannot read no.toml: no such file"),
    "long name": Mistake(command=f"run {'a' * 5000}", says=r"cannot read a+: File name too long"),
    "folder": Mistake(
        command="run a.toml",
        prepare=lambda folder: (folder / "a.toml").mkdir(),
        says=r"cannot read a.toml: it is a folder, and a file is needed",
    ),
    "pipe": Mistake(
        command="run a.toml",
        prepare=lambda folder: os.mkfifo(folder / "a.toml"),
        says=r"cannot read a.toml: it is a pipe or device, and a file is needed",
    ),
    "device file": Mistake(
        command="run /dev/zero",
        says=r"cannot read /dev/zero: it is a pipe or device, and a file is needed",
    ),
    "huge file": Mistake(
        command="run a.toml",
        prepare=lambda folder: os.truncate(os.open(folder / "a.toml", os.O_CREAT | os.O_WRONLY), 1 << 27),
        says=r"cannot read a.toml: it has 134,217,728 bytes, which is more than any such file has",
    ),
    "nested brackets": Mistake(
        command=RUN,
        prepare=a_file("tiny.toml", "a = " + "[" * 100_000 + "]" * 100_000),
        says=r"cannot read tiny.toml: it is nested too deeply for a study",
    ),
    "nested brackets in a setting": Mistake(
        command=f"{RUN} --set task.n_steps={'[' * 2_000}{']' * 2_000}",
        prepare=study(),
        says=r"--set task.n_steps=\[+\]+: the value is no TOML",
    ),
    "task by number": Mistake(
        command=f"{RUN} --set task.name=3",
        prepare=study(),
        says=r".*task 3 is wrong: a name is needed \(known: ",
    ),
    "task without a body": Mistake(
        command=f"{RUN} --set task.name=degeneracy:Task",
        prepare=study(),
        says=r".*'degeneracy:Task' is no whole task: it does not say chance_loss, ",
    ),
    "truncated TOML": Mistake(
        command=RUN,
        prepare=a_file("tiny.toml", STUDY[:-8]),
        says=r"cannot read tiny.toml: damaged TOML: .*\(at (line 9|end of document)",
    ),
    "no text": Mistake(
        command=RUN,
        prepare=a_file("tiny.toml", b"\xff\xfe\x00"),
        says=r"cannot read tiny.toml: its encoding is UTF-16; save it as UTF-8",
    ),
    "empty": Mistake(command=RUN, prepare=a_file("tiny.toml", ""), says=r"Study: 'name' is missing"),
    "key": Mistake(
        command=RUN,
        prepare=study("seeds =", "seds ="),
        says=r"Study: 'seeds' is missing|unknown key 'seds'; did you mean 'seeds'\?",
    ),
    "key beside": Mistake(
        command=f"{RUN} --set mesures=[]",
        prepare=study(),
        says=r"Study: unknown key 'mesures'; did you mean 'measures'\?",
    ),
    "task's key": Mistake(
        command=f"{RUN} --set task.n_step=5",
        prepare=study(),
        says=r"FlipFlop: unknown key 'n_step'; did you mean 'n_steps'\? \(known: channels, ",
    ),
    "network's key": Mistake(
        command=f"{RUN} --set network.hiden_size=5",
        prepare=study(),
        says=r"Network: unknown key 'hiden_size'; did you mean 'hidden_size'\?",
    ),
    "training's key": Mistake(
        command=f"{RUN} --set training.lr=5",
        prepare=study(),
        says=r"Training: unknown key 'lr'.* \(known: batch_size",
    ),
    "probe's key": Mistake(
        command=f"{RUN} --set probe.trials=5",
        prepare=study(),
        says=r"unknown key 'trials'; did you mean 'n_trials'\?",
    ),
    "option's key": Mistake(
        command=f"{RUN} --set options.procrustes.alfa=1",
        prepare=study(),
        says=r"Procrustes: unknown key 'alfa'; did you mean 'alpha'\?",
    ),
    "option's measure": Mistake(
        command=f"{RUN} --set options.dsa.rank=3",
        prepare=study(),
        says=r"options: 'dsa' is not among the measures to take \(procrustes\)",
    ),
    "task": Mistake(
        command=RUN,
        prepare=study("flip_flop", "flipflop"),
        says=r"unknown task 'flipflop'; did you mean 'flip_flop'\? \(known: delayed_cue, delayed_discrimination, ",
    ),
    "no task": Mistake(
        command=RUN,
        prepare=study('name = "flip_flop", ', ""),
        says=r"task: 'name' is missing \(known: delayed",
    ),
    "task's module": Mistake(
        command=f"{RUN} --set task.name=mine:Task",
        prepare=study(),
        says=r"task 'mine:Task': no module 'mine' here or on Python's path",
    ),
    "cell": Mistake(
        command=f"{RUN} --set network.cell=gruu",
        prepare=study(),
        says=r"unknown cell 'gruu'; did you mean 'gru'\?",
    ),
    "measure": Mistake(
        command=f"{RUN} --set measures=['procrustis']",
        prepare=study(),
        says=r"unknown measure 'procrustis'; did you mean 'procrustes'\?",
    ),
    "no measure": Mistake(
        command=f"{RUN} --set measures=[]", prepare=study(), says=r"no measure was asked for \(known"
    ),
    "schedule": Mistake(
        command=f"{RUN} --set training.schedule=cosin", prepare=study(), says=r"unknown schedule 'cosin'"
    ),
    "type": Mistake(
        command=f"{RUN} --set network.hidden_size=big",
        prepare=study(),
        says=r"Network: hidden_size = 'big' is wrong: Input should be a valid integer",
    ),
    "type of a part": Mistake(
        command=f"{RUN} --set task=flip_flop", prepare=study(), says=r"Study: task = 'flip_flop' is wrong: "
    ),
    "type of levels": Mistake(
        command=f"{RUN} --set vary.task.channels=3",
        prepare=study(),
        says=r"Study: vary.task.channels = 3 is wrong: ",
    ),
    "fraction": Mistake(
        command=f"{RUN} --set task.n_steps=2.5", prepare=study(), says=r"FlipFlop: n_steps = 2.5 is wrong: "
    ),
    "range": Mistake(
        command=f"{RUN} --set training.learning_rate=-1",
        prepare=study(),
        says=r"Training: learning_rate = -1 is wrong: Input should be greater than 0",
    ),
    "never converges": Mistake(
        command=f"{RUN} --set training.max_epochs=1",
        prepare=study(),
        says=r"Training: max_epochs = 1 is wrong: with patience = 1 a member converges after 2 epochs or more",
    ),
    "never converges by its training defaults": Mistake(
        command=f"{RUN} --set task={{name='path_integration'}} --set vary={{}} --set training={{max_epochs=3}}".replace(
            ", ", ","
        ),
        prepare=study(),
        says=r"Training: max_epochs = 3 is wrong: with patience = 3 ",
    ),
    "range of a level": Mistake(
        command=f"{RUN} --set vary.task.channels=[1,0]",
        prepare=study(),
        says=r"FlipFlop: channels = 0 is wrong: Input should be greater than or equal to 1",
    ),
    "nan": Mistake(
        command=f"{RUN} --set training.learning_rate=nan",
        prepare=study(),
        says=r"Training: learning_rate = nan is wrong: Input should be a finite number",
    ),
    "rank too high": Mistake(
        command=f"{RUN} --set measures=['dsa'] --set options.dsa.n_delays=2 --set options.dsa.rank=5000",
        prepare=study(),
        says=r"dsa.*rank",
    ),
    # --- what is claimed beforehand
    "claims' level": Mistake(
        command=f"{RUN} --set claims.dynamic.margin=0.1",
        prepare=study(),
        says=r"Claims: unknown key 'dynamic'; did you mean 'dynamics'\? \(known: behavior, ",
    ),
    "claims' key": Mistake(
        command=f"{RUN} --set claims.dynamics.margn=0.1",
        prepare=study(),
        says=r"Claim: unknown key 'margn'; did you mean 'margin'\?",
    ),
    "claimed measure": Mistake(
        command=f"{RUN} --set claims.dynamics.measure=dsa --set claims.dynamics.margin=0.1",
        prepare=study(),
        says=r"Study: claims.dynamics: 'dsa' is not among the measures to take \(procrustes\)",
    ),
    "claimed level": Mistake(
        command=f"{RUN} --set claims.weights.measure=procrustes",
        prepare=study(),
        says=r"Study: claims.weights: 'procrustes' is a measure of dynamics",
    ),
    "claimed variant": Mistake(
        command=f"{RUN} --set claims.dynamics={{measure='procrustes',variant='drivn'}}",
        prepare=study(),
        says=r"Study: claims.dynamics: unknown variant 'drivn'; did you mean 'driven'\?",
    ),
    "claimed variant of behavior": Mistake(
        command=f"{RUN} --set measures=['ood_log_error_sd'] --set claims.behavior.variant=delay_2x",
        prepare=study(),
        says=r"Study: claims.behavior: unknown variant 'delay_2x'.*known: amplitude, in_distribution, input_noise",
    ),
    "claimed factor": Mistake(
        command=f"{RUN} --set claims.factors=['task.n_steps']",
        prepare=study(),
        says=r"Study: claims: unknown factor 'task.n_steps'.* \(known: task.channels\)",
    ),
    "expected of no factor": Mistake(
        command=f"{RUN} --set claims.dynamics={{measure='procrustes',expected={{'task.chanels'='up'}}}}",
        prepare=study(),
        says=r"Study: claims.dynamics.expected: unknown factor 'task.chanels'; did you mean 'task.channels'\?",
    ),
    "expected sign": Mistake(
        command=f"{RUN} --set claims.dynamics={{measure='procrustes',expected={{'task.channels'='rise'}}}}",
        prepare=study(),
        says=r"Claim: expected.*channels = 'rise' is wrong: Input should be 'up', 'down' or 'flat'",
    ),
    "margin": Mistake(
        command=f"{RUN} --set claims.dynamics.margin=-0.1",
        prepare=study(),
        says=r"Claim: margin = -0.1 is wrong: Input should be greater than or equal to 0",
    ),
    "seeds": Mistake(command=f"{RUN} --seeds 0-5", prepare=study(), says=r"seeds = '0-5' is wrong: write 0:16 for 0"),
    "no seeds": Mistake(command=f"{RUN} --seeds 5:5", prepare=study(), says=r"seeds = \[\] is wrong: whole numbers"),
    "one seed": Mistake(command=f"{RUN} --seeds 7", prepare=study(), says=r"seeds = \[7\] is wrong: 2 members or more"),
    "same seed": Mistake(
        command=f"{RUN} --seeds 1,1", prepare=study(), says=r"seeds = \[1, 1\] is wrong: .*none twice"
    ),
    "odd digits": Mistake(command=f"{RUN} --seeds ²", prepare=study(), says=r"seeds = '²' is wrong: write 0:16"),
    "too many seeds": Mistake(command=f"{RUN} --seeds 0:999999999", prepare=study(), says=r"at most 100000 members"),
    "seeds as a number": Mistake(
        command=f"{RUN} --set seeds=5",
        prepare=study(),
        says=r'Study: seeds = 5 is wrong: needed is a list, or "0:16"',
    ),
    "factor": Mistake(
        command=f"{RUN} --set vary.tsk.channels=[1]",
        prepare=study(),
        says=r"vary 'tsk.channels': unknown part 'tsk'; did you mean 'task'\?",
    ),
    "no level": Mistake(
        command=f"{RUN} --set vary.task.channels=[]",
        prepare=study(),
        says=r"vary 'task.channels' = \[\] is wrong: it needs one level or more",
    ),
    "level twice": Mistake(
        command=f"{RUN} --set vary.task.channels=[1,1]",
        prepare=study(),
        says=r"vary names the same condition twice",
    ),
    "set and varied": Mistake(
        command=f"{RUN} --set task.channels=4",
        prepare=study(),
        says=r"'task.channels' is both set \(4\) and varied \(1, 2\); drop one of them",
    ),
    # --- where it writes
    "foreign folder": Mistake(
        command=f"{RUN} --out mine",
        prepare=lambda folder: (study()(folder), a_file("mine/thesis.txt", "dear")(folder)),
        says=r"mine holds something else \(it has no study.json\); choose another folder$",
    ),
    "foreign study.json": Mistake(
        command=f"{RUN} --out mine",
        prepare=lambda folder: (study()(folder), a_file("mine/study.json", '{"trials": 3}')(folder)),
        says=r"cannot read mine/study.json: damaged or not a file of this kind \(it has no checksum\)",
    ),
    "file for a folder": Mistake(
        command=f"{RUN} --out mine",
        prepare=lambda folder: (study()(folder), a_file("mine", "dear")(folder)),
        says=r"mine holds something else \(it has no study.json\); choose another",
    ),
    "below a file": Mistake(
        command=f"{RUN} --out mine/deeper",
        prepare=lambda folder: (study()(folder), a_file("mine", "dear")(folder)),
        says=r"cannot write mine/deeper/lock: Not a directory",
    ),
    "other settings": Mistake(
        command=f"{RUN} --out run --set network.hidden_size=9",
        prepare=study(),
        says=r"run holds a run with other settings \(condition channels=1-\w+ is not in this study:"
        r" other network.hidden_size\); choose another",
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
