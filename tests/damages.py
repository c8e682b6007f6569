"""Damages to a finished run: what each does to which file."""

import os
from collections.abc import Callable
from pathlib import Path

from stored import records, without

MEMBERS, MEASURED = "conditions/channels=1-*/members-0001.pack", "conditions/channels=1-*/measured-0001.pack"


def the(out: Path, pattern: str) -> Path:
    [file] = out.glob(pattern)
    return file


def flip(pattern: str, at: int) -> Callable[[Path], Path]:
    def damage(out: Path) -> Path:
        file = the(out, pattern)
        data = bytearray(file.read_bytes())
        data[at] ^= 16
        file.write_bytes(data)
        return file

    return damage


def copy(source: str, target: str) -> Callable[[Path], Path]:
    def damage(out: Path) -> Path:
        file = the(out, target)
        file.write_bytes(the(out, source).read_bytes())
        return file

    return damage


def text(name: str, content: str) -> Callable[[Path], Path]:
    def damage(out: Path) -> Path:
        file = the(out, name)
        file.write_text(content, encoding="utf-8")
        return file

    return damage


def member_over_member(out: Path) -> Path:
    """Another condition's member 1 in the place of this one's."""
    file, other = the(out, MEMBERS), the(out, MEMBERS.replace("channels=1", "channels=2"))
    foreign = other.read_bytes()
    [record] = [one for one in records(other) if one.header["name"] == "1"]
    without(file, "1")
    file.write_bytes(file.read_bytes() + foreign[record.at : record.end])
    return file


def swapped(pattern: str) -> Callable[[Path], Path]:
    def damage(out: Path) -> Path:
        one, other = the(out, pattern), the(out, pattern.replace("channels=1", "channels=2"))
        mine, theirs = one.read_bytes(), other.read_bytes()
        one.write_bytes(theirs)
        other.write_bytes(mine)
        return one

    return damage


def folder_instead(pattern: str) -> Callable[[Path], Path]:
    def damage(out: Path) -> Path:
        file = the(out, pattern)
        file.unlink()
        file.mkdir()
        return file

    return damage


def pipe_instead(pattern: str) -> Callable[[Path], Path]:
    def damage(out: Path) -> Path:
        file = the(out, pattern)
        file.unlink()
        os.mkfifo(file)
        return file

    return damage


def sparse(pattern: str) -> Callable[[Path], Path]:
    def damage(out: Path) -> Path:
        file = the(out, pattern)
        with file.open("r+b") as opened:
            opened.truncate(20 << 30)
        return file

    return damage


def edited_status(out: Path) -> Path:
    file = the(out, MEMBERS)
    data = file.read_bytes()
    assert b'"converged"' in data
    file.write_bytes(data.replace(b'"converged"', b'"diverged" ', 1))
    return file


def edited_seeds(out: Path) -> Path:
    file = out / "study.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"hidden_size": 8', '"hidden_size": 9'), encoding="utf-8")
    return file


BRACKETS = "[" * 100_000 + "]" * 100_000
DAMAGES = {
    "a bit of an array": flip(MEMBERS, -5),
    "a bit of a header": flip(MEMBERS, 100),
    "a bit of a length": flip(MEMBERS, 10),
    "a bit of a measurement": flip(MEASURED, -5),
    "a bit of the spec": flip("conditions/channels=1-*/spec.json", 60),
    "an edited status": edited_status,
    "members of another condition": copy(MEMBERS.replace("channels=1", "channels=2"), MEMBERS),
    "a member of another condition": member_over_member,
    "measures of another condition": copy(MEASURED.replace("channels=1", "channels=2"), MEASURED),
    "members swapped": swapped(MEMBERS),
    "measures swapped": swapped(MEASURED),
    "another spec": copy("conditions/channels=2-*/spec.json", "conditions/channels=1-*/spec.json"),
    "a list for a study": text("study.json", "[]"),
    "another study": edited_seeds,
    "a study without anything": text("study.json", "{}"),
    "100,000 brackets": text("study.json", BRACKETS),
    "brackets for results": text("results.json", BRACKETS),
    "an empty file": text("results.json", ""),
    "an altered table": text("degeneracy.csv", "condition,value\n"),
    "altered effects": text("effects.csv", "factor\n"),
    "another table": copy("convergence.csv", "degeneracy.csv"),
    "provenance": text("provenance.json", '{"degeneracy": "0.1.0"}'),
    "a folder for members": folder_instead(MEMBERS),
    "a folder for the study": folder_instead("study.json"),
    "a pipe for measures": pipe_instead(MEASURED),
    "a pipe for results": pipe_instead("results.json"),
    "20 GB of members": sparse(MEMBERS),
    "20 GB of study": sparse("study.json"),
}
