"""Names that are safe in a path, on every system a labelling project may be copied to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SAFE_NAME = re.compile(r"\w[\w .,+=@()-]*")
_LONGEST_BYTES = 150
_SHORTENED_CHARACTERS = 40
_HASH_CHARACTERS = 8
_TRAILING_NUMBER = re.compile(r"(?<!\d)(\d{1,18})\.\w+$")
_IMG_NUMBER = re.compile(r"img(\d{1,18})(?!\d)")


def is_safe(name: str) -> bool:
    """Whether a video's stem can name a folder as it stands."""
    return (
        _SAFE_NAME.fullmatch(name) is not None
        and name[-1] not in " ."
        and len(name.encode()) <= _LONGEST_BYTES
    )


def own_names(path: Path, content_hash: str) -> tuple[str, str]:
    """Names that belong to one video's content alone: with a short hash, and with the whole."""
    stem = path.stem
    if not is_safe(stem):
        stem = re.sub(r"[^\w.-]+", "_", stem)[:_SHORTENED_CHARACTERS].strip("._-") or "video"
    return f"{stem}-{content_hash[:_HASH_CHARACTERS]}", f"{stem}-{content_hash}"


def index_digits(n_frames: int) -> int:
    """Digits of a zero-padded frame index: ceil(log10(n_frames)), as DeepLabCut pads."""
    return len(str(max(n_frames - 1, 0)))


def frame_index(image_name: str) -> int | None:
    """The frame index in an image's name: after `img`, else the number before the extension."""
    found = _IMG_NUMBER.match(image_name) or _TRAILING_NUMBER.search(image_name)
    return int(found[1]) if found else None
