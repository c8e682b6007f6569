"""The English of the house: "one network per seed", never "one network a seed"."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "figures" / "README.md"]
TEXTS += [
    path
    for room in ("degeneracy", "examples")
    for path in sorted((ROOT / room).rglob("*.*"))
    if path.suffix in (".py", ".html", ".toml")
]
COUNTED = (
    "one|network|row|line|panel|column|point|array|number|value|estimate|ensemble|label|product|products|stream|process|thread"
    "|members|networks|trials|steps|updates|searches|seconds|eigenvalues"
)
PER = (
    "member|network|seed|trial|step|epoch|update|batch|condition|factor|level|measure|variant|finding|channel|pair|unit"
    "|gate|point|start|core|process|row|claim|strength|width|second"
)
DISTRIBUTIVE = re.compile(rf"\b(?:{COUNTED}) an? (?:{PER})\b", re.IGNORECASE)


def distributive(text: str) -> list[str]:
    """The places where "a" stands for "per", also over the end of a line."""
    return DISTRIBUTIVE.findall(re.sub(r"\s*\n[\s#]*", " ", text))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_per_is_said_for_per(path: Path) -> None:
    assert distributive(path.read_text(encoding="utf-8")) == []


def test_that_rule_can_fail() -> None:
    assert distributive("Takes one a core") == ["one a core"]
    assert distributive("16 networks a\n    condition") == ["networks a condition"]
    assert distributive("# a row an\n# epoch") == ["row an epoch"]
    assert not distributive("a step of one network; a factor times a level")
