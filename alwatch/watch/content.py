"""What a file's bytes say: its identity, and whether its end has been written."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KIB = 1024
_MIB = 1024 * _KIB
_WHOLE_BYTES = 16 * _MIB
_END_BYTES = _MIB
_BLOCK_BYTES = 64 * _KIB
_N_BLOCKS = 64
_TAIL_BYTES = 64 * _KIB


def content_hash(path: Path, *, full: bool = False) -> str:
    """Identify a file by its content, whatever its name and place.

    BLAKE2b over the size and the bytes. Of a file over 16 MiB only 6 MiB are read: the first and
    the last MiB, where containers keep their headers and indices, and 64 blocks of 64 KiB spread
    evenly between. Two files of equal size that differ only between these blocks get the same
    hash: damage to stored bits or an edit in place that keeps the length may go unseen, two
    recordings of a camera do not. With `full` every byte counts.

    Parameters
    ----------
    path : Path
    full : bool
        Read the whole file. Hashes of files over 16 MiB then differ from the sampled ones.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    OSError
        If the file cannot be read, is not a regular file, or shrinks while it is read.
    """
    with _open_regular(path) as (file, size_bytes):
        digest = hashlib.blake2b(size_bytes.to_bytes(8, "little"), digest_size=16)
        for start, length in _ranges(size_bytes, full=full):
            block = os.pread(file, length, start)
            if len(block) != length:
                raise OSError(errno.EBUSY, "File became shorter while it was read", str(path))
            digest.update(block)
    return digest.hexdigest()


def has_zero_tail(path: Path) -> bool:
    """Tell whether a file ends in zeros, as one does whose space was reserved but not yet filled.

    It looks at the last 64 KiB. Some recorders pad finished files like this, so it is a reason
    to wait for a while and not a verdict. An empty file has no tail.

    Raises
    ------
    OSError
        If the file cannot be read or is not a regular file.
    """
    with _open_regular(path) as (file, size_bytes):
        tail = os.pread(file, _TAIL_BYTES, max(0, size_bytes - _TAIL_BYTES))
    return bool(tail) and tail.count(0) == len(tail)


@contextmanager
def _open_regular(path: Path) -> Iterator[tuple[int, int]]:
    """Open a file for reading without ever blocking on it; yield its descriptor and size."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        yield file, found.st_size
    finally:
        os.close(file)


def _ranges(size_bytes: int, *, full: bool) -> Iterator[tuple[int, int]]:
    """Start and length of each piece to hash, in order, none longer than 1 MiB."""
    if full or size_bytes <= _WHOLE_BYTES:
        for start in range(0, size_bytes, _MIB):
            yield start, min(_MIB, size_bytes - start)
        return
    yield 0, _END_BYTES
    between = size_bytes - 2 * _END_BYTES
    for i in range(_N_BLOCKS):
        centre = _END_BYTES + (2 * i + 1) * between // (2 * _N_BLOCKS)
        yield centre - _BLOCK_BYTES // 2, _BLOCK_BYTES
    yield size_bytes - _END_BYTES, _END_BYTES
