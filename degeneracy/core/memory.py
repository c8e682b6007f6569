"""How much memory this process may have, and a refusal of what needs more. Ground floor.

What is compared is the least that a size can take, so that nothing is refused that could be done.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from degeneracy.core.errors import UserError

CONTAINERS = (  # folder, how much a container may use, how much it uses
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
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
    """Bytes of main memory that are free: of the machine, or of the container if that has fewer.

    Where the system does not say how much is free, all that the machine has; where it does not say that either, no
    limit.
    """
    return min(_free_of_machine(), machine_memory(), *_free_of_containers())


def machine_memory() -> int:
    """Bytes that this process may have: those of the machine, or fewer where its group or its user has a limit.

    On a machine that does not say, as many as an address can tell apart.
    """
    return min(_of_machine(), _of_process(), *_of_groups(), sys.maxsize)


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


def _of_groups(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """The limits of the control groups that the process is in: those of containers and of batch systems."""
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / controllers
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        group = top / path.lstrip("/")
        # Within a container the path may lead nowhere, but its top is there.
        for folder in (group, *group.parents):
            if folder == top or top in folder.parents:
                yield from _limit(folder / name)


def _limit(file: Path) -> Iterator[int]:
    """The number in a file; nothing where there is none ("max")."""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError:
        return
    if text.isdecimal():
        yield int(text)


def _free_of_machine() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return sys.maxsize


def _free_of_containers() -> list[int]:
    free = []
    for folder, most, used in CONTAINERS:
        with contextlib.suppress(OSError, ValueError, KeyError):  # "max" where there is no limit
            limit, taken = (int((Path(folder) / name).read_text(encoding="utf-8")) for name in (most, used))
            listed = (Path(folder) / "memory.stat").read_text(encoding="utf-8").splitlines()
            details = dict(line.split(maxsplit=1) for line in listed)
            # Files that the system keeps in memory and gives up when memory is asked for count as used.
            kept = int(details.get("total_inactive_file") or details["inactive_file"])
            free.append(max(limit - taken + kept, 0))
    return free
