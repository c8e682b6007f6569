"""What a study file or a command line sets: dotted keys, the names of varied factors, ranges of seeds."""

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from degeneracy.analysis import primary_measures
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.ensembles.seeds import MAX_SEEDS, check_seeds
from degeneracy.measuring.measure import build_measures

# Of text. A larger one is a slip of the pen, or a number that a file's name has no room for.
LAST_SEED = 10**18


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from text: "0:16" (0 to 15), "3", or several of these as "0:8,12".

    Raises:
        UserError: text of another form, or more than `MAX_SEEDS`.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, colon, last = part.strip().partition(":")
        numbers = [first, last] if colon else [first]
        if not all(number.isascii() and number.isdecimal() for number in numbers):
            raise UserError(f"seeds = '{text}' is wrong: write 0:16 for 0 to 15, or a list as 0:8,12")
        if any(len(number) > len(str(LAST_SEED)) or int(number) > LAST_SEED for number in numbers):
            raise UserError(f"seeds = '{text}' is wrong: a seed is at most {LAST_SEED}")
        if colon and len(seeds) + int(last) - int(first) > MAX_SEEDS:
            raise UserError(f"seeds = '{text}' is wrong: at most {MAX_SEEDS} members")
        seeds += range(int(first), int(last)) if colon else [int(first)]
    return check_seeds(seeds)


def dotted(given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one with dotted names: so a file may write `task.channels = [2, 3]` without quotes."""
    flat: dict[str, Any] = {}
    for key, value in given.items():
        name = f"{prefix}{key}"
        flat |= dotted(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return flat


def key_parts(key: str) -> list[str]:
    """The parts of a dotted TOML key."""
    parts: list[str] = []
    try:
        inner: Any = tomllib.loads(f"{key} = 0")
    except (tomllib.TOMLDecodeError, RecursionError):
        inner = {}
    while isinstance(inner, dict) and len(inner) == 1:
        [(part, inner)] = inner.items()
        parts.append(part)
    if inner != 0:
        raise UserError(
            f"'{key}' is no key: write part.field, such as training.learning_rate, with quotes round a part"
            " that is more than letters, digits, - and _"
        )
    return parts


def override_all(fields: dict[str, Any], pairs: Iterable[tuple[str, Any]]) -> None:
    """Set several values of a study file, the measures first: what is said of one that is left out is refused."""
    for key, value in sorted(pairs, key=lambda pair: key_parts(pair[0]) != ["measures"]):
        override(fields, key, value)


def override(fields: dict[str, Any], key: str, value: Any) -> None:
    """Set a value of a study file; what follows `vary.` is the name of a factor, dots and all."""
    first, *rest = key_parts(key)
    if first == "measures" and not rest:
        take_measures(fields, value)
    elif first == "vary" and rest:
        vary = fields.get("vary", {})
        fields["vary"] = (dotted(vary) if isinstance(vary, Mapping) else {}) | {".".join(rest): value}
    else:
        set_field(fields, [first, *rest], value)


def take_measures(fields: dict[str, Any], measures: Any) -> None:
    """Set which measures are taken; options and claims of those that are left out are dropped.

    Args:
        fields: of a study, changed in place.
        measures: their names; anything else is refused where the study is made.
    """
    fields["measures"] = measures
    if not isinstance(measures, Sequence) or isinstance(measures, str) or not all(isinstance(n, str) for n in measures):
        return
    names = {*measures, *build_measures(measures)}
    options, claims = fields.get("options"), fields.get("claims")
    if isinstance(options, Mapping):
        fields["options"] = {name: given for name, given in options.items() if name in names}
    if isinstance(claims, Mapping):
        kept = {key: _about(key, claim, names) for key, claim in claims.items()}
        fields["claims"] = {key: claim for key, claim in kept.items() if claim is not None}


def _about(key: str, claim: Any, names: Collection[str]) -> Any:
    """What an entry of the claims says of these measures: None where it is of another; all else as it is."""
    if isinstance(claim, Mapping):
        of_level = next((kind.name for kind in primary_measures(key)), None)
        return claim if _is_of({"measure": of_level, **claim}, names) else None
    if isinstance(claim, Sequence) and all(isinstance(one, Mapping) for one in claim):
        return [one for one in claim if _is_of(one, names)]
    return claim


def _is_of(claim: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether a claim is of one of these measures; one that names none is kept, to be refused with the study."""
    measure = claim.get("measure")
    return not isinstance(measure, str) or measure in names


def take_scale(fields: dict[str, Any], scale: str, *, where: str) -> None:
    """Set what a study file's `[scale.NAME]` says over the rest; its table of scales is taken out.

    Args:
        fields: of the study file, changed in place.
        scale: the name of the scale; "" for a study that has none.
        where: the file, for messages.

    Raises:
        UserError: a scale that the study does not have, or none named where it has some.
    """
    scales = fields.pop("scale", {})
    if not isinstance(scales, Mapping) or not all(isinstance(one, Mapping) for one in scales.values()):
        raise UserError(f"{where}: scale = {scales!r} is wrong: tables [scale.NAME] of settings are needed")
    if not scales and not scale:
        return
    if not scales:
        raise UserError(f"{where} has no scales, and '{scale}' is asked for; leave --scale away")
    if not scale:
        raise UserError(f"{where} has several scales; name one with --scale: {', '.join(scales)}")
    if scale not in scales:
        raise unknown_name("scale", scale, scales, where=where)
    override_all(fields, scales[scale].items())
    fields["scale"] = scale


def set_field(fields: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    """Set a field by its path in nested dicts, which are copied on the way."""
    first, *rest = parts
    if not rest:
        fields[first] = value
        return
    inner = fields.get(first, {})
    if not isinstance(inner, Mapping):
        raise UserError(f"'{'.'.join(parts)}': '{first}' has no fields")
    fields[first] = dict(inner)
    set_field(fields[first], rest, value)
