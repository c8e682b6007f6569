"""The command `degeneracy plan`: its options, and the run that it reads."""

import argparse
from pathlib import Path

from degeneracy.core.errors import UserError
from degeneracy.core.user_files import user_path

PLAN = """\
examples:
  degeneracy run my_study.toml --seeds 0:8       a pilot: 8 networks per level
  degeneracy plan runs/my_study                  what more networks would show
  degeneracy plan my_study.toml --networks 16 50
  degeneracy run my_study.toml --seeds 0:50      goes on in the same folder: only the new ones are trained

For each measure that is judged: the smallest change that 80% of studies with so many networks per level would show
(5%, shared by all that is judged), and the smallest margin within which no change would be called flat in 80%. Both are
percent of the value at the lowest level (of squared distances, of the distance), or of the way from floor to reference.
Margins are written into the study from this, before it is run with all its networks.
"""


def add_plan(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument("pilot", metavar="RUN_DIR|STUDY", help="a finished run with few networks, or its study")
    command.add_argument("--scale", metavar="NAME", default="", help="of a study with several scales")
    command.add_argument(
        "--networks",
        metavar="N",
        nargs="+",
        type=int,
        default=[16, 20, 50, 100],
        help="per level (default: %(default)s)",
    )


def pilot_folder(source: str, scale: str) -> Path:
    """The run that is the pilot: the folder itself, or where a study's run lies.

    Raises:
        UserError: neither a folder nor a study, or a study that has not been run.
    """
    from degeneracy.studies.study import load_study

    path = user_path(source)
    if path.is_dir():
        return path
    folder = load_study(source, scale=scale).folder
    if not folder.is_dir():
        again = f"degeneracy run {source}" + (f" --scale {scale}" if scale else "")
        raise UserError(f"plan: {folder} does not exist; run a pilot first, such as: {again} --seeds 0:8")
    return folder
