"""Conditions in words: by the factors that make them, as far as there is room."""

from collections.abc import Iterable, Sequence

from degeneracy.core.errors import one_line
from degeneracy.measuring.results import Result
from degeneracy.wording.factors import factor_name, level_text


def condition_name(result: Result) -> str:
    """A condition by the factors that make it, or by its own name where nothing is varied."""
    if not result.factors:
        return one_line(result.condition)
    return ", ".join(f"{factor_name(name)} = {level_text(value)}" for name, value in result.factors.items())


def short(text: str, limit: int = 28) -> str:
    """Text that fits over a panel; the middle goes first, since ends tell conditions apart."""
    if len(text) <= limit:
        return text
    keep = (limit - 1) // 2
    return f"{text[:keep]}…{text[-keep:]}"


def brief_names(results: Sequence[Result], limit: int, *, break_lines: bool = False) -> list[str]:
    """Conditions' names as far as there is room for so many characters in a line, all in one way.

    That is tighter, or one line per factor where lines may be broken, or the factors' values alone, shortened at last.
    """
    pairs = [[(factor_name(k), level_text(v)) for k, v in result.factors.items()] for result in results]
    ways = [
        [condition_name(result) for result in results],
        [", ".join(f"{name}={value}" for name, value in own) for own in pairs],
        [",\n".join(f"{name}={value}" for name, value in own) for own in pairs] if break_lines else [],
        [", ".join(value for _, value in own) for own in pairs],
    ]
    for way in ways:
        if all(way) and way and max(len(line) for name in way for line in name.split("\n")) <= limit:
            return way
    return [short(values or name, limit) for values, name in zip(ways[-1], ways[0], strict=True)]


def brief_name(result: Result, limit: int) -> str:
    """One condition's name as far as there is room, as in `brief_names`."""
    return brief_names([result], limit)[0]


def condition_title(result: Result, limit: int = 28) -> str:
    """A condition with its number of measured members."""
    return f"{brief_name(result, limit)} (n = {result.n_converged})"


def n_text(counts: Iterable[int]) -> str:
    """How many networks: "n = 12", or "n = 8–12"."""
    known = sorted(counts)
    return f"n = {known[0]}" if known[0] == known[-1] else f"n = {known[0]}–{known[-1]}"
