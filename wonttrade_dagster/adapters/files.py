"""Writes that are whole or not there: the few file operations that journal, spool and heartbeat share.

Belongs here: fsync, atomic replacement, exclusive creation, and the sentence for a disk that refuses.
Does not belong here: formats, names, what to do about a failure.
"""

import os
import secrets
from errno import ENOSPC
from pathlib import Path
from typing import BinaryIO

from wonttrade_dagster.core.errors import StorageError


def storage_error(path: Path, error: OSError) -> StorageError:
    """The one sentence for an operating system's refusal."""
    reason = error.strerror or type(error).__name__
    return StorageError(f"{path} did not take a write ({reason}): free the disk or make the folder writable")


def sync_directory(folder: Path) -> None:
    """Make new names in ``folder`` survive a power cut. Raises ``OSError``."""
    if os.name != "posix":  # other systems cannot open a folder, and keep its names by themselves
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(file: BinaryIO, content: bytes, size: int) -> None:
    """Append to a file of ``size`` in one write; what a disk takes of only a part is taken back.

    Raises ``OSError``.
    """
    try:
        written = file.write(content)
    except OSError:
        os.ftruncate(file.fileno(), size)
        raise
    if written != len(content):
        os.ftruncate(file.fileno(), size)
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def replace_atomically(path: Path, content: bytes) -> None:
    """Write ``path`` so that a reader sees the old content or the new one. Raises ``OSError``."""
    temporary = _written_beside(path, content)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def create_exclusively(path: Path, content: bytes) -> None:
    """Write a new ``path``, whole or not at all. Raises ``FileExistsError`` or another ``OSError``."""
    temporary = _written_beside(path, content)
    try:
        _claim(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def _claim(temporary: Path, path: Path) -> None:
    """A hard link is atomic and refuses an existing name; a rename would replace it silently."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with path.open("xb"):
            temporary.replace(path)


def _written_beside(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
