"""Seals: each file of a report carries the SHA-256 of the rest of it, so that one changed since is told from ours.

A page and an SVG end in a comment, which nothing shows; a PNG has a text chunk before its last one (PNG specification,
third edition, 11.3.3), which viewers pass over.
"""

import struct
import zlib

from degeneracy.core.files import sha256

NAME = "degeneracy report"
_PNG = b"\x89PNG\r\n\x1a\n"
_LAST = 12  # bytes of a PNG's last chunk, IEND, which is empty


def sealed(data: bytes) -> bytes:
    """A file with its seal."""
    end = len(data) - (_LAST if data.startswith(_PNG) else 0)
    return data[:end] + _seal(data) + data[end:]


def is_sealed(data: bytes) -> bool:
    """Whether a file is as `sealed` made it."""
    end = len(data) - (_LAST if data.startswith(_PNG) else 0)
    start = end - len(_seal(data))
    return start >= 0 and data == sealed(data[:start] + data[end:])


def _seal(data: bytes) -> bytes:
    """The seal of a file, of one length for each kind."""
    if not data.startswith(_PNG):
        return f"<!-- {NAME}, SHA-256 {sha256(data)} -->\n".encode()
    text = f"{NAME}\0{sha256(data)}".encode()
    return struct.pack(">I", len(text)) + b"tEXt" + text + struct.pack(">I", zlib.crc32(b"tEXt" + text))
