"""What alwatch remembers beside a SLEAP project: `<name>.alwatch.json`.

A `.slp` file keeps no scores, no reasons and no content hashes. The record has them, and which
of the project's videos, suggestions and poses come from which queue, so that a queue can be
withdrawn without touching anything else.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from alwatch.errors import ExportError
from alwatch.labelling.naming import own_names
from alwatch.labelling.project_folders import stem_anywhere

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alwatch.records import Queue, QueuedVideo


@dataclass(frozen=True, slots=True)
class RecordedVideo:
    """A video of the project; `filename` is what the project calls it."""

    filename: str
    video: str
    content_hash: str
    is_added: bool

    @property
    def folder(self) -> str:
        """The name by which `LabelledFrame.folder` knows it."""
        return own_names(Path(self.video), self.content_hash)[0]


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """A frame of a queue, and what was put into the project for it.

    `pose` is a digest of the predicted instances, None where there are none of ours.
    """

    content_hash: str
    frame: int
    rank: int
    score: float
    reason: str
    is_suggested: bool
    pose: str | None

    @property
    def key(self) -> tuple[str, int]:
        """Content hash and index."""
        return self.content_hash, self.frame


@dataclass(frozen=True, slots=True)
class RecordedQueue:
    """A queue that was exported; `package` is the sha256 of its package of images."""

    season: str
    strategy: str
    seed: int
    created_at: str
    snapshot: str
    package: str | None
    frames: tuple[RecordedFrame, ...]


@dataclass(slots=True)
class Record:
    """Everything that is remembered of one project: videos by content hash, queues by id."""

    videos: dict[str, RecordedVideo] = field(default_factory=dict)
    queues: dict[int, RecordedQueue] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record; an empty one if there is none.

        Raises
        ------
        ExportError
            The file is not a record.
        """
        try:
            there = json.loads(path.read_bytes())
            videos = [RecordedVideo(**video) for video in there["videos"]]
            queues = {
                int(number): RecordedQueue(
                    **{**queue, "frames": tuple(RecordedFrame(**f) for f in queue["frames"])}
                )
                for number, queue in there["queues"].items()
            }
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ExportError(
                f"{path} is to say what alwatch has put into the project beside it; it cannot be "
                f"read ({error}). Restore it from a backup, or move it elsewhere."
            ) from None
        return cls({video.content_hash: video for video in videos}, queues)

    def to_bytes(self) -> bytes:
        """What `read` reads."""
        content = {
            "videos": [asdict(video) for _, video in sorted(self.videos.items())],
            "queues": {str(number): asdict(queue) for number, queue in self.queues.items()},
        }
        return (json.dumps(content, indent=1) + "\n").encode()

    def frames_of(self, queue: Queue) -> dict[tuple[str, int], RecordedFrame]:
        """What was put into the project for each frame of a queue; nothing if it never was."""
        there = self.queues.get(queue.id)
        return {frame.key: frame for frame in there.frames} if there else {}

    def check_same(self, queue: Queue, videos: Iterable[QueuedVideo], project: Path) -> None:
        """Refuse another queue of the same number; two state folders may both have a queue 1.

        Raises
        ------
        ExportError
            The project holds other frames under this queue's number.
        """
        wanted = {(video.content_hash, frame.frame) for video in videos for frame in video.frames}
        there = set(self.frames_of(queue))
        if there and not wanted <= there:
            raise ExportError(
                f"{project} holds {len(there)} frames of a queue {queue.id} already, and "
                f"{len(wanted - there)} of this queue {queue.id} are not among them: it is "
                "another queue. Use another project."
            )

    def folder_names(self, filenames: Iterable[str]) -> dict[str, str]:
        """Name the videos of a project, so that labels find their way to the archive's.

        Videos that alwatch has put there have names of their own. Others go by the stem of their
        file, by which the archive may know them, unless two of the project share it.
        """
        filenames = list(filenames)
        known = {video.filename: video.folder for video in self.videos.values()}
        stems = [stem_anywhere(filename) for filename in filenames]
        return {
            filename: known.get(filename, stem if stems.count(stem) == 1 else filename)
            for filename, stem in zip(filenames, stems, strict=True)
        }
