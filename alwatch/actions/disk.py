"""What actions read from and write to the disk."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from alwatch.errors import ActionError, shown


def as_json(evidence: dict[str, Any]) -> bytes:
    """The evidence as every receiver gets it: the same bytes each time."""
    return json.dumps(evidence, indent=1, sort_keys=True).encode() + b"\n"


def write_whole(target: Path, content: bytes) -> None:
    """Write a file that is there in full, and on the disk, or not at all.

    Raises
    ------
    ActionError
        The disk does not take it.
    """
    staged = target.with_name(f".{target.name}.part")
    try:
        with suppress(FileNotFoundError):
            staged.unlink()  # of an attempt that was killed
        # Others may write in that folder too: a link that they put there is not followed.
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        staged.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise ActionError(
            f"{shown(target)} cannot be written: {error.strerror or error}; make room, or make "
            "its folder writable for this user."
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_secret(file: Path) -> str:
    """The one line of text that a secret file holds.

    Raises
    ------
    ActionError
        It cannot be read, or holds something else.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ActionError(
            f"The secret is to be read from {shown(file)}: {reason}. Put it there, readable for "
            "this user."
        ) from None
    if len(lines) != 1 or not lines[0].strip():
        raise ActionError(
            f"{shown(file)} must hold the secret, one line, and nothing else; it holds "
            f"{len(lines)} lines. Correct it."
        )
    return lines[0].strip()
