"""Specs: frozen, keyword-only descriptions that can be read from a study file.

A spec refuses unknown keys and impossible values with one line (`UserError`) that names the field.
"""

import inspect
import textwrap
from collections.abc import Iterator
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from degeneracy.core.errors import UserError, unknown_name

if TYPE_CHECKING:  # a type checker needs the name of the class, which pydantic has no public one for
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(pydantic.BaseModel)

_OF_PYDANTIC = frozenset(dir(pydantic.BaseModel))


class _SpecClass(ModelMetaclass):
    """The class of specs: it lists what they offer themselves, so that `help` and completion show nothing else.

    Raises:
        UserError: a class of the user's own with a value whose type is not said.
    """

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        try:
            return super().__new__(mcs, name, bases, namespace, **options)
        except pydantic.errors.PydanticUserError as error:
            if error.code != "model-field-missing-annotation":
                raise
            said = {*namespace.get("__annotations__", {}), *(one for base in bases for one in dir(base))}
            field = next((one for one in namespace if f"`{one} = " in str(error)), min(said))
            raise UserError(
                f"class {name}: the type of '{field}' is not said; write '{field}: ClassVar[int] = ...' for what is the"
                f" same in all of them, or '{field}: int = ...' for a field (with the type that it has)"
            ) from None

    def __dir__(cls) -> list[str]:
        return [name for name in super().__dir__() if name not in _OF_PYDANTIC and not name.startswith("__")]


class Spec(pydantic.BaseModel, metaclass=_SpecClass):
    """A frozen, keyword-only description whose fields are checked when it is made.

    Raises:
        UserError: an unknown field (with the closest known one), a wrong type or a value out of range.
    """

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=False, allow_inf_nan=False, arbitrary_types_allowed=False
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """`help` says what the fields mean, which pydantic keeps to itself."""
        own = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
        fields = "\n".join(_field_lines(cls))
        cls.__doc__ = f"{own}\n\nFields:\n{fields}".strip() if fields else own

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except pydantic.ValidationError as error:
            raise _first_mistake(type(self), error) from None

    def __dir__(self) -> list[str]:
        return [*dir(type(self)), *type(self).model_fields]

    def replace(self, **changes: Any) -> "Any":
        """The same spec with some fields changed, checked like a new one; what was not set stays so."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**given, **changes})


def _field_lines(spec: type[Spec], before: str = "", made: Spec | None = None) -> Iterator[str]:
    """Each field with its default and its meaning; those of a spec inside this one by their whole key.

    Where `made` is a field's default, its values are the defaults.
    """
    for name, info in spec.model_fields.items():
        default = getattr(made, name) if made else _default(info)
        if isinstance(default, Spec) and type(default).model_fields:
            yield from _field_lines(type(default), f"{before}{name}.", default)
            continue
        head = f"{before}{name}" + ("" if default is PydanticUndefined else f" = {default!r}")
        choices = ", ".join(map(repr, choices_of(info.annotation)))
        said = "; ".join(part for part in (info.description, choices and f"of {choices}") if part)
        yield textwrap.fill(
            head + (f": {said}" if said else ""), 110, initial_indent=" " * 4, subsequent_indent=" " * 8
        )


def _default(info: FieldInfo) -> Any:
    """What a field is where it is not set; undefined where that depends on other fields, or it has to be given."""
    if getattr(info, "default_factory_takes_validated_data", False):  # no pydantic before 2.10 has such
        return PydanticUndefined
    return info.get_default(call_default_factory=True)


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """What a field of this type, or each of its entries, is one of; nothing where it is not so few."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    found = [choices_of(inner) for inner in get_args(annotation) if inner is not type(None)]
    if get_origin(annotation) in (Union, UnionType):  # of which all must be few
        return tuple(one for choices in found for one in choices) if all(found) else ()
    return next((choices for choices in found if choices), ())


# Where pydantic speaks of Python's types to somebody who writes TOML.
_PLAINLY = {
    "tuple_type": "a list is needed",
    "dict_type": "a table is needed",
    "model_type": "a table of its fields is needed",
}


def _first_mistake(spec: type[Spec], error: pydantic.ValidationError) -> UserError:
    """One line for the first thing pydantic found wrong."""
    mistakes = error.errors()
    # A misspelt key is also a missing one; the spelling is what helps.
    detail = next((one for one in mistakes if one["type"] == "extra_forbidden"), mistakes[0])
    inner = detail.get("ctx", {}).get("error")
    if isinstance(inner, UserError):  # a spec inside this one has said it already
        return inner
    name = spec.__name__
    if not detail["loc"]:
        return UserError(f"{name}: {detail['msg'].removeprefix('Value error, ')}")
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return unknown_name("key", field, spec.model_fields, where=name)
    if detail["type"] == "missing":
        return UserError(f"{name}: '{field}' is missing")
    message = _PLAINLY.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    return UserError(f"{name}: {field} = {detail['input']!r} is wrong: {message}")
