"""Files that people and other programs put there: regular ones, and no larger than labels are."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_BYTES = 1 << 28
"""The labels of ten thousand frames take a fifth of this, in the wordiest of the formats."""

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def read_label_file(file: Path, *, largest_bytes: int = LARGEST_BYTES) -> bytes:
    """Read a whole file.

    Raises
    ------
    OSError
        It cannot be read.
    ValueError
        It is a pipe, a device or a folder, or larger than that.
    """
    content = b""
    size_bytes = size_of_file(file)
    if size_bytes <= largest_bytes:
        with file.open("rb") as opened:
            content = opened.read(largest_bytes + 1)  # by now it may have grown
    if max(size_bytes, len(content)) > largest_bytes:
        raise ValueError(f"it has more than {largest_bytes} bytes")
    return content


def size_of_file(file: Path) -> int:
    """Bytes of a regular file; refuses what may hang, or never end, once it is opened.

    Raises
    ------
    OSError
        There is nothing under this name.
    ValueError
        It is no regular file.
    """
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'a device')}, not a file")
    return status.st_size
