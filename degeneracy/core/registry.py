"""Names that a study file can give: an entry of a table, or one's own class or function as `module:Name`.

Ground floor: any room may import it.
"""

import importlib
import importlib.util
import inspect
import logging
import sys
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.specs import Spec
from degeneracy.core.user_files import read_text

log = logging.getLogger("degeneracy")


def look_up(kind: str, name: str, table: Mapping[str, Any], base: type = object) -> Any:
    """The entry of a table, or the user's own object for a name of the form `module:Name`.

    Args:
        kind: what is looked for ("task", "cell", "measure"), for the message.
        name: a key of `table`, or `module:Name`; the module may lie in the working directory.
        table: the visible table of known entries.
        base: what the user's own must be a subclass of; `object` lets anything through.

    Raises:
        UserError: a name that is not in the table (says the closest), a module or object that is not there, or one
            of another kind.
    """
    if not isinstance(name, str):
        raise UserError(f"{kind} {name!r} is wrong: a name is needed (known: {', '.join(sorted(table))})")
    if name in table:
        return table[name]
    if ":" not in name:
        raise unknown_name(kind, name, table)
    module_name, _, attribute = name.partition(":")
    module = _import_own(kind, name, module_name)
    if not hasattr(module, attribute):
        names = [key for key in vars(module) if not key.startswith("_")]
        raise unknown_name(f"{kind} in module {module_name}", attribute, names)
    found = getattr(module, attribute)
    if base is not object and not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"'{name}' is no {kind}: a subclass of degeneracy.{base.__name__} is needed")
    if inspect.isabstract(found):
        lacking = ", ".join(sorted(found.__abstractmethods__))
        raise UserError(f"'{name}' is no whole {kind}: it does not say {lacking}")
    return found


def _import_own(kind: str, name: str, module_name: str) -> Any:
    """Import a module of the user's, from the working directory as well as from where Python looks.

    Where that finds it, the working directory stays first on Python's path, as it is for a script: the processes
    that train and measure have to find the module too. Importing executes the module, so it is said beforehand.
    """
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise UserError(f"{kind} '{name}' is wrong: write module:Name, as in 'my_{kind}s:Mine' for my_{kind}s.py")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        # One that is not there is no code to be run, and is an error below.
        if module_name not in sys.modules and importlib.util.find_spec(module_name.split(".")[0]):
            log.info("importing the module '%s', which the %s '%s' names", module_name, kind, name)
        return importlib.import_module(module_name)
    except BaseException as error:
        try:
            if isinstance(error, SyntaxError | ValueError):
                _check_encoding(getattr(error, "filename", None), module_name)
        finally:
            if added:
                sys.path.remove(here)
        missing = isinstance(error, ModuleNotFoundError) and error.name in (
            module_name.split(".")[0],
            module_name,
        )
        if not missing:
            raise
        raise UserError(f"{kind} '{name}': no module '{module_name}' here or on Python's path") from None


def _check_encoding(file: str | None, module_name: str) -> None:
    """Refuse a file of the user's whose text is in another encoding than it says; Python's own words are no help.

    Args:
        file: where Python met the error; not always known.
        module_name: what was imported.

    Raises:
        UserError: says which encoding, and where.
    """
    spec = importlib.util.find_spec(module_name)
    for path in (file, spec.origin if spec else None):
        if path is None or not path.endswith(".py") or not Path(path).is_file():
            continue
        try:
            with tokenize.open(path) as opened:
                whole = "\0" not in opened.read()
        except (SyntaxError, UnicodeDecodeError):
            whole = False
        if not whole:
            read_text(Path(path))


def named(kind: str, value: Any, table: Mapping[str, Any], base: type) -> Any:
    """A spec that is given as itself, by its name, or as a table of its name and fields.

    Raises:
        UserError: anything else, an unknown name, or fields that it does not take.
    """
    if isinstance(value, base):
        return value
    if isinstance(value, str):
        return look_up(kind, value, table, base)()
    if not isinstance(value, Mapping):
        raise UserError(f"{kind} = {value!r} is wrong: a name, or a table with a name and fields, is needed")
    return build(kind, value, table, base)


def describe(spec: Spec, table: Mapping[str, Any]) -> dict[str, Any]:
    """A spec as plain data with its name: the table's, or `module:Name` for the user's own."""
    kind = type(spec)
    listed = [name for name, entry in table.items() if entry is kind]
    name = listed[0] if listed else f"{kind.__module__}:{kind.__qualname__}"
    return {"name": name, **spec.model_dump(mode="json")}


def build(kind: str, fields: Mapping[str, Any], table: Mapping[str, Any], base: type = object) -> Any:
    """The spec that `describe` described: `name` says which, the other fields are its own.

    Raises:
        UserError: no name, an unknown one, one of another kind than `base`, or fields the spec does not take.
    """
    own = dict(fields)
    if "name" not in own:
        raise UserError(f"{kind}: 'name' is missing (known: {', '.join(sorted(table))})")
    return look_up(kind, own.pop("name"), table, base)(**own)
