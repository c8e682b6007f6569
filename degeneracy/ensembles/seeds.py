"""Seeds of ensembles: a member is its seed."""

import itertools
from collections.abc import Iterable

import numpy as np

from degeneracy.core.errors import UserError

MAX_SEEDS = 100_000  # more would be a slip of the pen; each is a network to train


def check_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """The seeds as a tuple.

    Raises:
        UserError: none, more than `MAX_SEEDS`, a negative or fractional one, one twice, or no sequence.
    """
    if not isinstance(seeds, Iterable):
        raise UserError(f"seeds = {seeds!r} is wrong: one per member is needed, such as range(8)")
    checked = tuple(itertools.islice(seeds, MAX_SEEDS + 1))
    if len(checked) > MAX_SEEDS:
        said = f"{seeds!r}" if isinstance(seeds, range) else f"[{checked[0]}, {checked[1]}, ...]"
        raise UserError(f"seeds = {said} is wrong: at most {MAX_SEEDS} members")
    whole = all(isinstance(seed, int | np.integer) and not isinstance(seed, bool) for seed in checked)
    if not checked or not whole or min(checked) < 0 or len(set(checked)) < len(checked):
        said = ", ".join(map(repr, checked[:8])) + (", ..." if len(checked) > 8 else "")
        raise UserError(f"seeds = [{said}] is wrong: whole numbers from 0 on, at least one, none twice")
    return tuple(int(seed) for seed in checked)
