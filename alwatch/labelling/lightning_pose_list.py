"""The list of frames that Lightning Pose's app is to label: one JSON object on each line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from alwatch.errors import ExportError
from alwatch.labelling.images import write_durably
from alwatch.labelling.label_file import read_label_file
from alwatch.labelling.staging import sync_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

LIST = "CollectedData.unlabeled.jsonl"
_NEW_LIST = f".{LIST}.alwatch"


def listed_frames(root: Path) -> list[str]:
    """The paths of the frames in a project's list.

    Raises
    ------
    ExportError
        It holds something else.
    """
    return [path for path, _ in _lines(root)]


def add_to_list(root: Path, lines: Sequence[str]) -> None:
    """Put lines at the end of the list, all or none."""
    before = (root / LIST).read_bytes() if (root / LIST).exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    _replace(root, before + "".join(f"{line}\n" for line in lines).encode())


def remove_from_list(root: Path, paths: Collection[str]) -> None:
    """Take frames out of the list; one without a line is removed, as a new project has none."""
    lines = _lines(root)
    kept = [line for path, line in lines if path not in paths]
    if len(kept) < len(lines):
        _replace(root, b"".join(kept))


def clear_stale_list(root: Path) -> None:
    """Remove what a dead run has left of a new list."""
    (root / _NEW_LIST).unlink(missing_ok=True)


def _lines(root: Path) -> list[tuple[str, bytes]]:
    """Every frame's path, and its line as it stands."""
    try:
        content = read_label_file(root / LIST)
        lines = [line for line in content.splitlines(keepends=True) if line.strip()]
        return [(str(json.loads(line)["frame_path"]), line) for line in lines]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, LookupError) as error:
        raise ExportError(
            f"{root / LIST} must hold one JSON object with a frame_path on each line; reading it "
            f"gave {error!r}. Correct it in the labelling tool."
        ) from error


def _replace(root: Path, content: bytes) -> None:
    new = root / _NEW_LIST
    try:
        if content:
            write_durably(new, content)
            new.replace(root / LIST)
        else:
            (root / LIST).unlink()
        sync_folder(root)
    finally:
        new.unlink(missing_ok=True)
