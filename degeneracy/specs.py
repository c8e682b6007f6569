"""Specs: frozen, keyword-only descriptions that can be read from a study file.

A spec refuses unknown keys and impossible values with one line (`UserError`) that names the field.
Ground floor: any room may import it.
"""

from typing import Any

import pydantic

from degeneracy.errors import UserError, unknown_name


class Spec(pydantic.BaseModel):
    """A frozen, keyword-only description whose fields are checked when it is made.

    Raises:
        UserError: an unknown field (with the closest known one), a wrong type or a value out of range.
    """

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=False, allow_inf_nan=False, arbitrary_types_allowed=False
    )

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except pydantic.ValidationError as error:
            raise _first_mistake(type(self), error) from None

    def replace(self, **changes: Any) -> "Any":
        """The same spec with some fields changed, checked like a new one; what was not set stays so."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**given, **changes})


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
    message = detail["msg"].removeprefix("Value error, ")
    return UserError(f"{name}: {field} = {detail['input']!r} is wrong: {message}")
