"""How much memory there is, and what needs more."""

from pathlib import Path

import pytest

from degeneracy.core import memory
from degeneracy.core.errors import UserError
from degeneracy.core.memory import available_memory, check_memory, in_words, machine_memory


def test_there_is_some_and_no_more_than_the_machine_has() -> None:
    assert 2**28 < machine_memory() <= memory._of_machine()  # 256 MB: torch alone takes as much


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (16_000_000_000, "16 GB"),
        (10**21, "over 999 EB"),
        (10**400, "over 999 EB"),
    ],
)
def test_bytes_in_words(n_bytes: int, words: str) -> None:
    assert in_words(n_bytes) == words


def test_what_fits_is_taken_and_what_does_not_is_refused_by_its_largest_part() -> None:
    check_memory({"a = 1": 3, "b = 2": 4}, "it", 7)
    with pytest.raises(UserError) as raised:
        check_memory({"a = 1": 3, "b = 2": 5}, "it", 7)
    assert str(raised.value) == (
        "it would take 8 bytes of memory or more, and there are 7 bytes: b = 2 alone would take 5 bytes"
    )


@pytest.fixture
def groups(tmp_path: Path):
    """Limits as the kernel shows them: writes the files, returns what is read of them."""

    def limits(lines: str, files: dict[str, str]) -> list[tuple[int, int]]:
        (tmp_path / "cgroup").write_text(lines, encoding="utf-8")
        for name, text in files.items():
            (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "fs" / name).write_text(text, encoding="utf-8")
        return sorted(memory._of_groups(tmp_path / "cgroup", tmp_path / "fs"))

    return limits


def test_the_limit_of_a_batch_job_and_of_all_groups_around_it_is_read(groups) -> None:
    files = {"memory.max": "max\n", "slurm/memory.max": "4000\n", "slurm/job_1/memory.max": "3000\n"}
    assert groups("0::/slurm/job_1\n", files) == [(3000, 3000), (4000, 4000)]


def test_the_limit_of_a_container_is_read_though_its_path_leads_nowhere(groups) -> None:
    assert groups("0::/docker/abc\n", {"memory.max": "5000\n"}) == [(5000, 5000)]


def test_the_limit_of_an_older_kernel_is_read(groups) -> None:
    lines = "5:cpu:/a\n4:memory:/job\n0::/\n"
    assert groups(lines, {"memory/job/memory.limit_in_bytes": "6000\n", "cpu/a/memory.max": "1\n"}) == [(6000, 6000)]


def test_no_group_is_no_limit(groups, tmp_path: Path) -> None:
    assert groups("0::/a\n", {"a/memory.max": "max\n"}) == []
    assert list(memory._of_groups(tmp_path / "not there")) == []


def test_the_smallest_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_of_groups", lambda: iter([(5, 1), (3, 2)]))
    assert machine_memory() == 3
    monkeypatch.setattr(memory, "_of_process", lambda: 2)
    assert machine_memory() == 2


def test_free_memory_is_a_number_of_bytes() -> None:
    # No machine that runs these tests has less than 10 MB or more than 1 EB.
    assert 10**7 < available_memory() < 10**18


def test_free_memory_of_the_machine_is_told_in_kibibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    4000 kB\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: said)
    assert memory._free_of_machine() == 4000 * 1024


def test_what_a_group_uses_is_not_free_but_for_files_that_can_be_given_up(groups) -> None:
    files = {"job/memory.max": "1000\n", "job/memory.current": "900\n"}
    files |= {"job/memory.stat": "anon 5\ninactive_file 50\n", "memory.max": "max\n"}
    assert groups("0::/job\n", files) == [(1000, 150)]


def test_what_a_group_of_an_older_kernel_uses_is_not_free(groups) -> None:
    files = {"limit_in_bytes": "1000\n", "usage_in_bytes": "990\n", "stat": "inactive_file 1\ntotal_inactive_file 5\n"}
    files = {f"memory/job/memory.{name}": text for name, text in files.items()}
    assert groups("4:memory:/job\n", files) == [(1000, 15)]


def test_the_least_that_is_free_in_any_group_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch job has less than the machine, and so has each group around it."""
    monkeypatch.setattr(memory, "_of_groups", lambda: iter([(1000, 150), (2000, 40)]))
    assert available_memory() == 40
