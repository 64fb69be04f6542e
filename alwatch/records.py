"""The records that travel between rooms: small, frozen, checked on construction.

NumPy is imported for type checking only, so that commands that move no arrays start fast.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float32]
    ImageArray = NDArray[np.uint8]

DecoderPath = Literal["sequence", "keyframe", "decord"]
"""How frames are fetched: in sequence (the reference), by PTS-matched keyframe seeks, by decord."""

VideoState = Literal["ready", "working", "waiting", "done", "partial", "quarantined", "superseded"]
"""`ready` to be ingested; `working`; `waiting` for its writer to finish; the rest are final.

`superseded`: the only file that held this content was overwritten with other content.
"""


# --- the archive -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileSignature:
    """What `stat` says of a file; two equal signatures mean that nobody has touched it."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def from_stat(cls, stat: os.stat_result) -> FileSignature:
        """Take the five figures from what `os.stat` returned."""
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def is_of(self, path: Path) -> bool:
        """Whether the file at `path` still has this signature; False where it cannot be seen."""
        try:
            return FileSignature.from_stat(path.stat()) == self
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class SeenFile:
    """One video file that a scan has found."""

    path: Path
    root: Path
    signature: FileSignature

    def is_unchanged(self) -> bool:
        """Whether the file is there and nobody has touched it since."""
        return self.signature.is_of(self.path)


@dataclass(frozen=True, slots=True)
class RootScan:
    """The outcome of one scan of one archive root.

    `online` is False where the root is missing, unreadable or did not answer; its files are
    then unknown, which is not the same as gone. `settle_s` is how long a file of this root must
    rest before it is taken as complete; `started_s` and `finished_s` are monotonic times, kept
    here because a scan may wait long before somebody looks at it.
    """

    root: Path
    online: bool
    files: tuple[SeenFile, ...] = ()
    problem: str | None = None
    settle_s: float = 60.0
    started_s: float = 0.0
    finished_s: float = 0.0


# --- one video ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a video before any of its frames is looked at.

    Width and height are those of the frame as it is shown, that is after `rotation_deg`.
    `recorded_at` is the container's own creation time, where it has one; `problem` says what is
    missing where the file visibly ends early, though what is there can be read.
    """

    container: str
    codec: str
    width_px: int
    height_px: int
    rotation_deg: int
    fps: float
    duration_s: float
    recorded_at: datetime | None = None
    problem: str | None = None

    def __post_init__(self) -> None:
        if self.width_px < 1 or self.height_px < 1:
            raise ValueError(f"a frame must be at least 1x1, got {self.width_px}x{self.height_px}")


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every frame of a video in the order it is shown: entry i describes frame index i.

    Frame index 0 is the first frame that a reader in sequence (OpenCV, and so DeepLabCut)
    delivers.

    Parameters
    ----------
    pts : int64 array of shape (n_frames,)
        Presentation time stamps in `time_base` units; strictly increasing if `seekable`.
    keyframe : bool array of shape (n_frames,)
    time_base : Fraction
        Seconds per PTS unit.
    source : {"packets", "decode"}
        Read from the container's packets, or counted by decoding every frame.
    seekable : bool
        Whether a PTS names exactly one frame, which a seeking reader needs.
    """

    pts: IntArray
    keyframe: BoolArray
    time_base: Fraction
    source: Literal["packets", "decode"]
    seekable: bool

    def __post_init__(self) -> None:
        if self.pts.ndim != 1 or self.pts.shape != self.keyframe.shape:
            raise ValueError(
                f"pts and keyframe must be 1-D and equally long, got shapes {self.pts.shape} "
                f"and {self.keyframe.shape}"
            )

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.pts.shape[0])

    def time_s(self, index: int) -> float:
        """Seconds from the first frame to frame `index`."""
        return float((int(self.pts[index]) - int(self.pts[0])) * self.time_base)


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame: `image` is RGB uint8 of shape (height, width, 3), turned upright."""

    index: int
    pts: int | None
    keyframe: bool
    image: ImageArray


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """What a vector's meaning depends on; vectors of two identities are never compared.

    `weights` is a sha256 of the network's weights, or the version of the recipe where it has
    none; `dim` is the length of a vector.
    """

    name: str
    weights: str
    dim: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the pose model; a score means something only together with it.

    `sha256` covers its weights and configuration; `name` is for people. `bodyparts` are in the
    order of the poses, for at most `n_individuals` animals in a frame; the last `n_unique` of
    them are the scene's, and belong to no animal.
    """

    kind: str
    name: str
    sha256: str
    bodyparts: tuple[str, ...]
    n_individuals: int = 1
    n_unique: int = 0

    def is_same(self, other: Snapshot | None) -> bool:
        """Whether another one is this version too, by whatever name."""
        return other is not None and (self.kind, self.sha256) == (other.kind, other.sha256)


@dataclass(frozen=True, slots=True)
class LocatedSnapshot:
    """A snapshot and what its worker needs to load it.

    Parameters
    ----------
    snapshot : Snapshot
    model : dict
        What the worker is told, as plain JSON.
    files : tuple of (path, signature)
        The files that the snapshot's sha256 is of, as they were then.
    """

    snapshot: Snapshot
    model: dict[str, Any]
    files: tuple[tuple[Path, FileSignature], ...] = ()


@dataclass(frozen=True, slots=True)
class FrameScores:
    """What one snapshot says of some frames of one video.

    Parameters
    ----------
    frame_indices : int64 array of shape (n,), strictly increasing
    signals : mapping of str to float32 array of shape (n, ...)
        `pose` is (n, individuals, bodyparts, 3): x and y in pixels, likelihood; NaN where
        nothing was found. Other signals are (n, bodyparts) or (n,), NaN where undefined.
    """

    frame_indices: IntArray
    signals: dict[str, FloatArray]

    def __post_init__(self) -> None:
        n = self.frame_indices.shape[0]
        wrong = [
            f"{name} has shape {array.shape}, not ({n}, ...)"
            for name, array in self.signals.items()
            if array.shape[:1] != (n,)
        ]
        if n > 1 and not bool((self.frame_indices[1:] > self.frame_indices[:-1]).all()):
            wrong.append("frame_indices do not increase")
        if wrong:
            raise ValueError("; ".join(wrong))


@dataclass(frozen=True, slots=True)
class IngestedVideo:
    """All that ingesting one video yields, written to the store in one transaction.

    Parameters
    ----------
    frame_indices : int64 array of shape (n,), strictly increasing
    times_s : float array of shape (n,), seconds from the first frame
    keyframes : bool array of shape (n,)
    vectors : float16 array of shape (n, dim), row i belongs to frame_indices[i]
    """

    info: VideoInfo
    n_frames: int
    frame_indices: IntArray
    times_s: NDArray[np.float64]
    keyframes: BoolArray
    vectors: NDArray[np.float16]
    embedder: EmbedderIdentity
    decoder_path: DecoderPath
    state: Literal["done", "partial"] = "done"
    note: str | None = None

    def __post_init__(self) -> None:
        n = self.frame_indices.shape[0]
        shapes = {
            "times_s": (self.times_s.shape, (n,)),
            "keyframes": (self.keyframes.shape, (n,)),
            "vectors": (self.vectors.shape, (n, self.embedder.dim)),
        }
        wrong = [f"{k} has shape {a}, not {b}" for k, (a, b) in shapes.items() if a != b]
        if n > 1 and not bool((self.frame_indices[1:] > self.frame_indices[:-1]).all()):
            wrong.append("frame_indices do not increase")
        if wrong:
            raise ValueError("; ".join(wrong))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one video that was to be ingested or scored.

    `state` is one of `VideoState`, or `failed` for a video that could not be scored.
    """

    path: Path
    state: str
    reason: str | None = None
    n_frames: int = 0


# --- queues and labels -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueueFrame:
    """One frame of a queue: where it is, its rank from 1, and why it was chosen."""

    video_id: int
    video: Path
    frame: int
    rank: int
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Queue:
    """One round's frames for one season, and everything that is needed to draw it again.

    `review` are frames that were left out, to be looked at: the most outlying first, its score
    the distance to the nearest other frame of its video. They are no part of the queue.
    """

    id: int
    season: str
    strategy: str
    seed: int
    budget: int
    created_at: datetime
    frames: tuple[QueueFrame, ...]
    manifest: dict[str, Any] = field(default_factory=dict)
    review: tuple[QueueFrame, ...] = ()


@dataclass(frozen=True, slots=True)
class QueuedVideo:
    """The part of a queue that lies in one video, as a labelling tool needs it.

    Parameters
    ----------
    path : Path
    content_hash : str
        Unique among videos, and safe in a file name.
    width_px, height_px, n_frames : int
    frames : tuple of QueueFrame, by increasing index
    poses : mapping of int to float32 array of shape (individuals, bodyparts, 3)
        What the current snapshot finds in these frames, for a person to correct: x and y in
        pixels, likelihood; NaN where it finds nothing. Bodyparts are those of the `Skeleton`.
        Frames that have not been scored are not in it.
    fps : float
        0 where it is not known.
    """

    path: Path
    content_hash: str
    width_px: int
    height_px: int
    n_frames: int
    frames: tuple[QueueFrame, ...]
    poses: Mapping[int, FloatArray] = field(default_factory=dict)
    fps: float = 0.0


ReadFrames = Callable[[QueuedVideo], "Iterator[tuple[int, ImageArray]]"]
"""Full-size RGB images of a video's queued frames with their indices, lazily."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is to be labelled in every frame.

    Parameters
    ----------
    bodyparts : tuple of str
        The last `n_unique` are the scene's, and belong to no animal.
    n_individuals : int
        Animals that a frame may show.
    n_unique : int
    source : str
        Who gives the poses that come with it: the snapshot's name, empty where there are none.
    """

    bodyparts: tuple[str, ...] = ()
    n_individuals: int = 1
    n_unique: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        if len(set(self.bodyparts)) < len(self.bodyparts):
            raise ValueError(f"bodyparts must differ, got {', '.join(self.bodyparts)}")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export has put where; `written` and `kept` count images new and already there.

    `folders` pairs the name by which `LabelledFrame.folder` knows a video with the video's
    content hash.
    """

    tool: str
    project: Path
    written: int
    kept: int
    folders: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LabelledPoint:
    """Where a person has put one bodypart of one animal, in pixels of the whole frame.

    `individual` is empty in single-animal projects and for bodyparts that only the scene has.
    """

    individual: str
    bodypart: str
    x_px: float
    y_px: float


LabelState = Literal["labelled", "empty", "skipped"]
"""What a person has done with a frame: labelled it, said that nothing is there, or passed it."""


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """A frame that a person is done with: in which folder of which project, at which index.

    `labeller` tells people apart who work on one project; empty where the tool does not say.
    A frame may occur once for each labeller.
    """

    project: Path
    folder: str
    frame: int
    source: Path
    points: tuple[LabelledPoint, ...] = ()
    labeller: str = ""
    state: LabelState = "labelled"


@dataclass(frozen=True, slots=True)
class ActionEnd:
    """How an attempt at an action has ended; `outcome` says it in one line.

    The rest is about an attempt that failed, as in `ActionError`.
    """

    delivered: bool
    outcome: str
    again: bool = True
    counts: bool = True
    retry_after_s: float | None = None
