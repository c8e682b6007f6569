"""Kill a real run again and again, at random moments, and compare its end with that of a run left alone.

python tests/kill_run.py --kills 10 --seed 0

Every kill is a SIGKILL of the whole process group, workers included. Checked: the tables are equal byte for byte,
the members' arrays are equal, no member that was finished before a kill was trained again, and no temporary file
is left (the torn end of a pack may be). Exits with 1 where any of this fails.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from stored import member_records

from degeneracy.records import MAGIC, read_arrays

STUDY = """
name = "killed"
seeds = "0:20"
measures = ["procrustes", "cka", "output_distance", "ood_log_error_sd", "weight_change"]
vary.task.channels = [1, 2]
[task]
name = "flip_flop"
n_steps = 25
threshold = 0.3
[network]
hidden_size = 32
[training]
learning_rate = 3e-3
batch_size = 32
steps_per_epoch = 25
max_epochs = 40
patience = 1
[probe]
n_trials = 16
"""


def start(study: Path, out: Path, jobs: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "degeneracy.cli", "run", str(study), "--out", str(out), "--quiet"]
    return subprocess.Popen(
        [*command, "--jobs", str(jobs)], stdout=subprocess.DEVNULL, start_new_session=True
    )


def finish(study: Path, out: Path, jobs: int) -> float:
    """Run to the end; returns the seconds it took."""
    began = time.monotonic()
    if start(study, out, jobs).wait() != 0:
        raise SystemExit(f"FAILED: the run in {out.name} ended with an error")
    return time.monotonic() - began


def stamps(out: Path) -> dict[str, tuple[str, int, str]]:
    """What tells a member that was written again from one that was not."""
    found = member_records(out).items()
    return {name: (one.path.name, one.at, str(one.about["provenance"])) for name, one in found}


def written(out: Path) -> int:
    """Files that stand under their final names, and records."""
    files = sum(1 for path in out.rglob("*") if path.is_file() and path.suffix not in (".part", ".pack"))
    return files + sum(path.read_bytes().count(MAGIC) for path in out.rglob("*.pack"))


def kill(study: Path, out: Path, jobs: int, n_files: int, seconds: float) -> bool:
    """Start the run and kill it so many seconds after it has written so many files; False where it ended before."""
    process = start(study, out, jobs)
    index = out / "study.json"  # written anew when a start begins its work
    before = index.stat().st_ino if index.exists() else 0
    there = written(out)
    while process.poll() is None:
        if index.exists() and index.stat().st_ino != before and written(out) - there >= n_files:
            time.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.005)
    if process.returncode != 0:
        raise SystemExit("FAILED: a restarted run ended with an error")
    return False


def differences(alone: Path, killed: Path) -> list[str]:
    """What differs between the two runs, nothing where all is well."""
    found = []
    if (alone / "degeneracy.csv").read_bytes() != (killed / "degeneracy.csv").read_bytes():
        found.append("the tables differ")
    ours, theirs = member_records(alone), member_records(killed)
    if ours.keys() != theirs.keys():
        found.append("the runs have other members")
    for name in ours.keys() & theirs.keys():
        mine, other = read_arrays(ours[name]), read_arrays(theirs[name])
        if any(not np.array_equal(mine[key], other[key]) for key in mine):
            found.append(f"{name} differs")
    left = [str(path.relative_to(killed)) for path in killed.rglob("*.part")]
    return found + [f"left behind: {name}" for name in left]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        study, alone, killed = (Path(folder) / name for name in ("killed.toml", "alone", "killed"))
        study.write_text(STUDY, encoding="utf-8")
        whole = finish(study, alone, args.jobs)
        print(f"left alone: {whole:.1f} s, {len(stamps(alone))} members", flush=True)
        again = 0
        for k in range(args.kills):
            before, n_files, seconds = stamps(killed), moments.randrange(6), moments.uniform(0, 0.6)
            was_killed = kill(study, killed, args.jobs, n_files, seconds)
            now = stamps(killed)
            again += sum(now.get(name) != stamp for name, stamp in before.items())
            left = len(list(killed.rglob("*.part")))
            how = f"killed {seconds:.2f} s after {n_files} files" if was_killed else "ended by itself"
            print(f"{k + 1}: {how}: {len(now)} members, {left} files half-written", flush=True)
        before = stamps(killed)
        finish(study, killed, args.jobs)
        again += sum(stamps(killed)[name] != stamp for name, stamp in before.items())
        wrong = differences(alone, killed) + (
            [f"{again} finished members were trained again"] if again else []
        )
    print("\n".join(f"FAILED: {line}" for line in wrong) or "the same table and members; none trained again")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
