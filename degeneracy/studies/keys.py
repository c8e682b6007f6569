"""Cache keys: the settings under which a stored result may be reused."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from degeneracy.analysis import MEASURES, Measure
from degeneracy.core import files
from degeneracy.core.version import __version__
from degeneracy.measuring.probe import Probe


def digest(value: Any) -> str:
    """A short name of plain data: the first 12 hex digits of the SHA-256 of its JSON, keys sorted."""
    return files.digest(value, sort=True)[:12]


def examples_key(probe: Probe) -> str:
    """The key of stored example trials: they are shown again under the same one alone."""
    return digest({"examples": probe.seen_by(("states",)), "version": __version__})


def measured_key(name: str, measure: Measure, members: Sequence[int], probe: Probe) -> str:
    """The key of a stored measurement: it is reused under the same one alone."""
    built_in = type(measure) in MEASURES.values()
    made_with: dict[str, Any] = {
        "measure": name,
        "options": measure.model_dump(mode="json"),
        "members": list(members),
        "probe": probe.seen_by(measure.needs if built_in else ()),
        "version": __version__,
    }
    if measure.revision:
        made_with["revision"] = measure.revision
    if not built_in:
        made_with["source"] = own_source(measure)
    return digest(made_with)


def own_source(measure: Measure) -> str:
    """The text of the file that a measure of the user's own comes from, so that an edited one is taken anew."""
    thing = getattr(type(measure), "thing", type(measure))
    try:
        found = inspect.getsourcefile(thing if inspect.isroutine(thing) or isinstance(thing, type) else type(thing))
        # Only whether it is the same text matters, in whatever encoding Python took it.
        return Path(found).read_text(encoding="utf-8-sig", errors="backslashreplace") if found else ""
    except (OSError, TypeError):  # made in a console, or no Python source
        return ""
