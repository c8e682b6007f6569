"""Damage to the bytes of a file, whatever its format."""

import re
from collections.abc import Callable

import numpy as np

Rng = np.random.Generator
Damage = Callable[[Rng, bytes], bytes]
WORDS = (b"converged", b"diverged", b"true", b"false", b"F64", b"F32", b"tanh", b"driven", b"states", b"seed")


def _flipped(rng: Rng, data: bytes, n_bits: int, end: int) -> bytes:
    changed = bytearray(data)
    for _ in range(n_bits):
        changed[rng.integers(min(end, len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def bit(rng: Rng, data: bytes) -> bytes:
    return _flipped(rng, data, 1, len(data))


def bits(rng: Rng, data: bytes) -> bytes:
    return _flipped(rng, data, int(rng.integers(2, 9)), len(data))


def bit_at_the_start(rng: Rng, data: bytes) -> bytes:
    return _flipped(rng, data, 1, 300)


def bit_at_the_end(rng: Rng, data: bytes) -> bytes:
    return _flipped(rng, data[::-1], 1, 200)[::-1]


def _piece(rng: Rng, data: bytes, most: int) -> slice:
    length = int(rng.integers(1, min(most, len(data)) + 1))
    start = int(rng.integers(len(data) - length + 1))
    return slice(start, start + length)


def noise(rng: Rng, data: bytes) -> bytes:
    where = _piece(rng, data, 64)
    return data[: where.start] + rng.bytes(where.stop - where.start) + data[where.stop :]


def zeros(rng: Rng, data: bytes) -> bytes:
    where = _piece(rng, data, 512)
    return data[: where.start] + bytes(where.stop - where.start) + data[where.stop :]


def cut(rng: Rng, data: bytes) -> bytes:
    near = rng.random() < 0.5  # a few bytes short, or anywhere
    keep = len(data) - int(rng.integers(1, 65)) if near else int(rng.integers(len(data)))
    return data[: max(keep, 0)]


def longer(rng: Rng, data: bytes) -> bytes:
    junk = (rng.bytes(int(rng.integers(1, 200))), b"\n", bytes(8), data[-64:], data)
    return data + junk[int(rng.integers(len(junk)))]


def taken_out(rng: Rng, data: bytes) -> bytes:
    where = _piece(rng, data, 64)
    return data[: where.start] + data[where.stop :]


def twice(rng: Rng, data: bytes) -> bytes:
    where = _piece(rng, data, 256)
    return data[: where.stop] + data[where] + data[where.stop :]


def exchanged(rng: Rng, data: bytes) -> bytes:
    """Two blocks of one length in each other's place."""
    half = len(data) // 2
    where = _piece(rng, data[:half] or data, 128)
    length = where.stop - where.start
    other = int(rng.integers(half, max(len(data) - length, half) + 1))
    parts = data[: where.start], data[other : other + length], data[where.stop : other]
    return b"".join(parts) + data[where] + data[other + length :]


def digit(rng: Rng, data: bytes) -> bytes:
    """Another digit in a number that stands there as text."""
    places = [match.start() for match in re.finditer(rb"[0-9]", data)]
    if not places:
        return bit(rng, data)
    at = int(rng.choice(places))
    return data[:at] + str((int(data[at : at + 1]) + int(rng.integers(1, 10))) % 10).encode() + data[at + 1 :]


def word(rng: Rng, data: bytes) -> bytes:
    """One of the words that files of this kind hold, in the place of another; the length stays where it can."""
    there = [word for word in WORDS if word in data]
    if not there:
        return digit(rng, data)
    old = there[int(rng.integers(len(there)))]
    new = WORDS[int(rng.integers(len(WORDS)))]
    quoted = data.replace(b'"' + old + b'"', (b'"' + new + b'"').ljust(len(old) + 2), 1)
    return quoted if quoted != data else data.replace(old, new, 1)


def emptied(rng: Rng, data: bytes) -> bytes:
    return b""


def all_zeros(rng: Rng, data: bytes) -> bytes:
    return bytes(len(data))


BYTES: dict[str, Damage] = {
    "a bit flipped": bit,
    "several bits flipped": bits,
    "a bit flipped at the start": bit_at_the_start,
    "a bit flipped at the end": bit_at_the_end,
    "bytes overwritten": noise,
    "a block zeroed": zeros,
    "cut short": cut,
    "junk appended": longer,
    "a piece taken out": taken_out,
    "a piece twice": twice,
    "two blocks exchanged": exchanged,
    "a digit changed": digit,
    "a word changed": word,
    "emptied": emptied,
    "all zeros": all_zeros,
}


def damaged(rng: Rng, data: bytes) -> tuple[str, bytes]:
    """How the bytes were damaged, and what they are now; never what they were (but an empty file gets longer)."""
    if not data:
        return "junk in an empty file", rng.bytes(20)
    names = list(BYTES)
    while True:
        how = names[int(rng.integers(len(names)))]
        changed = BYTES[how](rng, data)
        if changed != data:
            return how, changed
