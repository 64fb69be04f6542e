"""Writing into a folder that people and other programs use: first aside, then into place.

Everything is written in full to a dot-folder, which labelling tools ignore, and only then
moved to where it belongs, file by file or as a whole, never over anything that is there.
A run that dies at any point leaves whole files only, and the next run clears the rest away.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from alwatch.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = ".alwatch-staging-"
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@contextmanager
def explained(asked: str, remedy: str) -> Iterator[None]:
    """Turn an error of the disk into one line for a person.

    Raises
    ------
    ExportError
        In place of any OSError of the body.
    """
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise ExportError(f"{asked} failed: {error.strerror or error}{where}. {remedy}") from error


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold the one right to export into a folder, until the body ends or the process dies.

    File systems that cannot lock a folder (NFS among them) go without.

    Raises
    ------
    ExportError
        If another process holds it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportError(
                f"{folder} takes one export at a time, and another one is writing to it now. "
                "Try again when it is done."
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


def clear_stale(parent: Path) -> None:
    """Remove what dead runs have left staged under `parent`."""
    for folder in sorted(parent.glob(f"{_PREFIX}*")):
        shutil.rmtree(folder)


@contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """Make a dot-folder under `parent` to write to; it is gone when the body ends."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put_in_place(staged: Path, target: Path) -> bool:
    """Give a staged file its final name unless that name is taken; tells whether it did.

    Where the file system has no hard links, a name taken in the instant between looking and
    renaming would be lost; everywhere else nothing can be.
    """
    try:
        os.link(staged, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(target):
            return False
        staged.rename(target)
    return True


def keep_rights(new: Path, old: Path) -> None:
    """Give a file the group and the rights of the one that it is going to replace."""
    status = old.stat()
    with suppress(OSError):  # not every network drive has groups and modes
        os.chown(new, -1, status.st_gid)
        new.chmod(stat.S_IMODE(status.st_mode))


def put_over(staged: Path, target: Path) -> None:
    """Give a staged file the name of another one, which may be there, with its group and rights."""
    with suppress(FileNotFoundError):
        keep_rights(staged, target)
    staged.replace(target)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_space(folder: Path, needed_bytes: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises
    ------
    ExportError
        If less than `needed_bytes` are free where `folder` lies.
    """
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ExportError(
            f"The images may need {needed_bytes / 1e6:.0f} MB in {folder}; "
            f"{free_bytes / 1e6:.0f} MB are free. Free some space and export again."
        )
