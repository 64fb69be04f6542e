"""What alwatch has put into a folder of `labeled-data`, kept in the folder itself.

By it a video is known again under another name, and a queue that is withdrawn takes away what
its export has brought and nothing else. The folder may come from anywhere: names in the file
are used only where they are names of the kind that an export gives.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from hashlib import file_digest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from alwatch.records import Queue

RECORD_NAME = ".alwatch-video.json"
FRAME_NAME = re.compile(r"img(\d+)\.png")
_POSES_NAME = re.compile(r"machinelabels-iter\d+\.h5")
_MADE_NAME = re.compile(rf"\.|machinelabels\.csv|{_POSES_NAME.pattern}")
_LINK_NAME = re.compile(r"[^/\\]+\.[^/\\]+")


@dataclass(frozen=True, slots=True)
class FolderRecord:
    """One folder's record.

    Parameters
    ----------
    content_hash, video : str
        Of which video the folder is.
    images : dict of str to str
        Images that alwatch wrote, with the sha256 of their content.
    queues : dict of str to list of str
        Images that each queue asked for, those that were there already included.
    poses : dict of str to list of str
        Images whose points alwatch put into a file of pre-labels, by that file.
    made : list of str
        Files of pre-labels that were not there before; "." where the folder was not.
    listed : dict of str to str
        Videos that alwatch listed in config.yaml for this folder, with their crop.
    link : str
        The link in `videos` that it made for this; empty if none.
    """

    content_hash: str
    video: str
    images: dict[str, str] = field(default_factory=dict)
    queues: dict[str, list[str]] = field(default_factory=dict)
    poses: dict[str, list[str]] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    listed: dict[str, str] = field(default_factory=dict)
    link: str = ""

    @classmethod
    def read(cls, folder: Path) -> FolderRecord | None:
        """Read a folder's record; None where there is none that can be read."""
        try:
            content = json.loads((folder / RECORD_NAME).read_bytes())
            return cls(
                content_hash=str(content["content_hash"]),
                video=str(content.get("video", "")),
                images=_texts(content.get("images"), FRAME_NAME),
                queues=_names(content.get("queues"), re.compile(".+")),
                poses=_names(content.get("poses"), _POSES_NAME),
                made=_matching(content.get("made"), _MADE_NAME),
                listed=_texts(content.get("listed"), re.compile(".+")),
                link="".join(_matching([content.get("link")], _LINK_NAME)),
            )
        except (FileNotFoundError, ValueError, TypeError, LookupError, AttributeError):
            return None

    def to_bytes(self) -> bytes:
        """The record as its file holds it."""
        content = {key: value for key, value in asdict(self).items() if value}
        return (json.dumps(content, indent=1) + "\n").encode()

    def without(self, queue: Queue) -> tuple[FolderRecord, set[str]]:
        """The record without a queue, and the queue's images that no other one asked for."""
        queues = {key: names for key, names in self.queues.items() if key != queue_key(queue)}
        others = {name for names in queues.values() for name in names}
        return replace(self, queues=queues), set(self.queues.get(queue_key(queue), [])) - others


def queue_key(queue: Queue) -> str:
    """A queue's name in a record; two states may both have a queue 1."""
    return f"{queue.id} {queue.created_at.isoformat()}"


def digest(file: Path) -> str:
    """The sha256 of a file's content."""
    with file.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()


def _texts(found: Any, names: re.Pattern[str]) -> dict[str, str]:
    return {str(k): str(v) for k, v in (found or {}).items() if names.fullmatch(str(k))}


def _names(found: Any, keys: re.Pattern[str]) -> dict[str, list[str]]:
    return {
        str(key): _matching(names, FRAME_NAME)
        for key, names in (found or {}).items()
        if keys.fullmatch(str(key))
    }


def _matching(found: Any, names: re.Pattern[str]) -> list[str]:
    return [name for name in found or () if isinstance(name, str) and names.fullmatch(name)]
