"""State dictionaries from files: safetensors, and what torch.save writes, of which tensors and plain values are read.

This is the one file of the package that calls torch.load, always with `weights_only`: a file may come from anywhere,
and nothing in it is run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.files import DamagedFile, reading, regular_size
from degeneracy.core.memory import available_memory, in_words
from degeneracy.core.user_files import user_path
from degeneracy.ensembles.layouts.sides import listed

OF_TORCH = (".pt", ".pth", ".ckpt", ".bin")
DEEPEST = 10  # dictionaries within dictionaries; a file may hold one that holds itself
Named = dict[str, Tensor]


def read_states(what: str, paths: object, names: Mapping[str, str] | None) -> tuple[list[Named], list[str]]:
    """The arrays of each file, and what each file is called.

    Args:
        what: the verb, for messages.
        paths: the files.
        names: what each array is called in them, by the name that it is to have; None for all of a file's.

    Raises:
        UserError: no files, one that cannot be read, or one that does not hold one state dictionary.
    """
    if isinstance(paths, str | Path) or not isinstance(paths, Sequence):
        raise UserError(f"{what}: a list of paths is needed, one per member, not {type(paths).__name__} {paths!s}")
    if not paths:
        raise UserError(f"{what}: no files given")
    if names is not None and not (isinstance(names, Mapping) and names):
        raise UserError(f"{what}: names = {names!r} is wrong: a table is needed, such as {{'weight': 'head.weight'}}")
    files = [user_path(path) for path in paths]
    return [read_state(file, names) for file in files], [str(file) for file in files]


def read_state(path: Path, names: Mapping[str, str] | None = None) -> Named:
    """The arrays of one file; arguments and errors as of `read_states`."""
    content = _content(path)
    state = _state(content)
    if names is None:
        if state is None:
            kept = listed([str(key) for key, value in content.items() if isinstance(value, Mapping)])
            raise DamagedFile(
                path,
                "it holds no state dictionary alone" + (f" but several entries ({kept})" if kept else ""),
                "say with names= what each array is called in it, such as {'weight': 'model.head.weight'}",
            )
        return state
    known = _tensors(content) | (state or {})
    chosen = {}
    for name, called in names.items():
        if called not in known:
            raise unknown_name("array", called, known, where=str(path))
        chosen[name] = known[called]
    return chosen


def _content(path: Path) -> Mapping[Any, Any]:
    """What is in a file, whichever form it has."""
    if path.suffix != ".safetensors" and path.suffix not in OF_TORCH:
        raise UserError(f"{path}: unknown kind of file; known are .safetensors and torch's {', '.join(OF_TORCH)}")
    with reading(path):
        size = regular_size(path)
        with path.open("rb"):  # refused here, not within a reader
            pass
    if 2 * size > available_memory():
        raise UserError(f"cannot read {path}: its {in_words(size)} do not fit in memory")
    try:
        content: Any
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path, device="cpu")
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of damage, of which each reader has a dozen kinds, and of code in the file
        if path.suffix == ".safetensors":
            raise DamagedFile(path, "damaged or not a file of safetensors") from error
        why = "damaged, or it holds more than tensors and plain values"
        raise DamagedFile(path, why, "save module.state_dict() alone with torch.save or safetensors") from error
    if not isinstance(content, Mapping):
        raise DamagedFile(path, f"it holds no tensors by their names ({type(content).__name__})")
    return content


def _state(content: Mapping[Any, Any]) -> Named | None:
    """The one state dictionary in what a file holds: all of it, or the only entry that is one; None where none is."""
    if any(isinstance(value, Tensor) for value in content.values()):
        # Beside its tensors it may hold plain values, such as the number of epochs, but nothing with more tensors.
        rest = {key: value for key, value in content.items() if not isinstance(value, Tensor)}
        return _own(content) if not _tensors(rest) else None
    states = [value for value in content.values() if isinstance(value, Mapping) and _is_state(value)]
    return _own(states[0]) if len(states) == 1 else None


def _is_state(value: Mapping[Any, Any]) -> bool:
    """Whether these are tensors by their names; an optimiser's state is none."""
    return bool(value) and all(isinstance(key, str) for key in value) and any(map(torch.is_tensor, value.values()))


def _own(value: Mapping[Any, Any]) -> Named:
    return {str(key): tensor for key, tensor in value.items() if isinstance(tensor, Tensor)}


def _tensors(content: Mapping[Any, Any], before: tuple[str, ...] = ()) -> Named:
    """All tensors in dictionaries within dictionaries, by their names joined by points."""
    tensors: Named = {}
    for key, value in content.items():
        if isinstance(value, Tensor):
            tensors[".".join((*before, str(key)))] = value
        elif isinstance(value, Mapping) and len(before) < DEEPEST:
            tensors |= _tensors(value, (*before, str(key)))
    return tensors
