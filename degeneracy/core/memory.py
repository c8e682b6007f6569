"""How much memory this process may have, and a refusal of what needs more. Ground floor.

What is compared is the least that a size can take, so that nothing is refused that could be done.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from degeneracy.core.errors import UserError

# Of the control groups of containers and batch systems, by what stands before their path: how much memory a group may
# use, how much it uses, and what of that are files that the system gives up when memory is asked for.
CONTROLLED = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def check_memory(parts: Mapping[str, int], what: str, memory: int = 0) -> None:
    """Refuse what does not fit into the memory.

    Args:
        parts: the least bytes that are needed at one time, by what needs them, in words with the fields to change.
        what: what they are needed for.
        memory: bytes that there are; 0 for those that this process may have.

    Raises:
        UserError: they are more; says how much is there and which part needs most.
    """
    there, needed = memory or machine_memory(), sum(parts.values())
    if needed > there:
        most = max(parts, key=lambda name: parts[name])
        raise UserError(
            f"{what} would take {in_words(needed)} of memory or more, and there are {in_words(there)}: {most} alone"
            f" would take {in_words(parts[most])}"
        )


def in_words(n_bytes: int) -> str:
    """A number of bytes in three digits."""
    if n_bytes >= 999 * 1000 ** (len(UNITS) - 1):
        return f"over 999 {UNITS[-1]}"
    power = 0
    while power + 1 < len(UNITS) and n_bytes >= 999.5 * 1000**power:
        power += 1
    return f"{n_bytes / 1000**power:.3g} {UNITS[power]}"


def available_memory() -> int:
    """Bytes of main memory that are free: of the machine, or of a group that the process is in if that has fewer.

    Where the system does not say how much is free, all that the machine has; where it does not say that either, no
    limit.
    """
    return min(_free_of_machine(), machine_memory(), *(free for _, free in _of_groups()))


def machine_memory() -> int:
    """Bytes that this process may have: those of the machine, or fewer where its group or its user has a limit.

    On a machine that does not say, as many as an address can tell apart.
    """
    return min(_of_machine(), _of_process(), *(limit for limit, _ in _of_groups()), sys.maxsize)


def _of_machine() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return sys.maxsize


def _of_process() -> int:
    """What `ulimit -v` leaves."""
    try:
        import resource
    except ImportError:  # not on Windows
        return sys.maxsize
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _of_groups(
    proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[tuple[int, int]]:
    """The limit of each control group around the process that has one, and how much of it is free."""
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in CONTROLLED:
            continue
        top = root / controllers
        group = top / path.lstrip("/")
        # Within a container the path may lead nowhere, but its top is there.
        for folder in (group, *group.parents):
            if folder == top or top in folder.parents:
                yield from _limit_and_free(folder, *CONTROLLED[controllers])


def _limit_and_free(folder: Path, most: str, used: str, inactive: str) -> Iterator[tuple[int, int]]:
    """Of one group; nothing where it has no limit ("max"). Where nothing says how much is used, all is free."""
    try:
        limit = int((folder / most).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    free = limit
    with contextlib.suppress(OSError, ValueError, KeyError):
        details = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        free = max(limit - int((folder / used).read_text(encoding="utf-8")) + int(details[inactive]), 0)
    yield limit, free


def _free_of_machine() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return sys.maxsize
