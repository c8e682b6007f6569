"""The table of programs."""

from .archives import DamagedArchives
from .arrays import RandomArrays
from .command_lines import CommandLines
from .damage import DamagedRuns
from .framework import Program
from .kills import Kills
from .studies import RandomStudies

PROGRAMS: dict[str, type[Program]] = {
    kind.name: kind for kind in (DamagedRuns, Kills, RandomStudies, RandomArrays, DamagedArchives, CommandLines)
}
