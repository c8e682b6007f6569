"""Several processes in one run."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from small_runs import SEEDS, TINY, assert_same_run, run
from stored import without

from degeneracy.core import files

# --- Several processes -----------------------------------------------------------------------------------------

SHARE = """
import json, sys
from degeneracy.runs import running
from degeneracy.studies.study import Study
n, real = 0, running.train_members
def counted(*args, **rest):
    global n
    for member in real(*args, **rest):
        n += 1
        yield member
running.train_members = counted
running.run_study(Study(**json.loads(sys.argv[1])), out=sys.argv[2], device="cpu", jobs=1, progress=False)
print(n)
"""
HOLD = """
import sys, time
from pathlib import Path
from degeneracy.core.files import lock
with lock(Path(sys.argv[1]), wait=True):
    print("held", flush=True)
    time.sleep(60)
"""


def start(script: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )


def test_two_processes_share_a_run(tmp_path: Path) -> None:
    levels = {"task.channels": [1, 2, 3, 4]}
    fields = json.dumps({**TINY, "vary": levels})
    both = [start(SHARE, fields, str(tmp_path / "shared")) for _ in range(2)]
    counts = [int(process.communicate(timeout=120)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(counts) == 4 * len(SEEDS)  # each network once, by one or the other
    run(tmp_path / "alone", vary=levels)
    assert_same_run(tmp_path / "shared", tmp_path / "alone")


def test_a_condition_that_another_holds_is_left_for_last(tmp_path: Path, alone: Path) -> None:
    out = tmp_path / "run"
    held_name = next(path.name for path in (alone / "conditions").iterdir() if path.name.startswith("channels=1"))
    held = out / "conditions" / held_name
    runner = threading.Thread(target=run, args=(out,))
    with files.lock(held / "lock", wait=True):
        # The folder holds a lock and nothing of a run yet: what a process leaves that has only just begun.
        (out / "study.json").write_bytes((alone / "study.json").read_bytes())
        runner.start()
        deadline = time.monotonic() + 60
        while not list(out.glob("conditions/channels=2-*/measured-0001.pack")):
            assert time.monotonic() < deadline
            assert runner.is_alive()
            time.sleep(0.02)
        time.sleep(0.2)
        assert not list(held.glob("*.pack"))
        assert runner.is_alive()  # it waits
    runner.join(timeout=60)
    assert_same_run(out, alone)


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path, alone: Path) -> None:
    out = tmp_path / "run"
    run(out)
    condition = next((out / "conditions").iterdir())
    without(condition / "members-0001.pack", "1")
    holder = start(HOLD, str(condition / "lock"))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with files.lock(condition / "lock", wait=False) as held:
        assert not held
    holder.kill()
    holder.wait()
    assert (condition / "lock").exists()
    run(out)
    assert_same_run(out, alone)
