"""Lines of a file that only grows, read from either end.

Belongs here: cutting bytes into lines without reading the whole file.
Does not belong here: what a line means, writing.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 1 << 16


def lines(path: Path) -> Iterator[bytes]:
    """Every line, oldest first, without its newline; nothing when there is no file. Raises ``OSError``."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n")


def lines_backwards(path: Path) -> Iterator[bytes]:
    """Every line, newest first, reading no further than the caller asks. Raises ``OSError``.

    A last line without a newline comes first, as it is.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        yield from _backwards(file)


def _backwards(file: BinaryIO) -> Iterator[bytes]:
    end = file.seek(0, os.SEEK_END)
    parts: list[bytes] = []  # the pieces of a line that spans blocks, last piece first
    is_tail = True
    while end:
        start = max(end - _BLOCK_BYTES, 0)
        file.seek(start)
        head, *rest = file.read(end - start).split(b"\n")
        for line in reversed(rest):
            whole = b"".join([line, *reversed(parts)])
            parts = []
            if whole or not is_tail:
                yield whole
            is_tail = False
        parts.append(head)
        end = start
    if parts and (whole := b"".join(reversed(parts))):
        yield whole


def tail_without_newline(file: BinaryIO) -> bytes:
    """What stands after the last newline: empty for a file whose last line is complete."""
    end = file.seek(0, os.SEEK_END)
    tail = b""
    while end and b"\n" not in tail:
        start = max(end - _BLOCK_BYTES, 0)
        file.seek(start)
        tail = file.read(end - start) + tail
        end = start
    return tail.rpartition(b"\n")[2]
