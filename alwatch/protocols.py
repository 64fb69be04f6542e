"""What an exchangeable part must offer. One or two methods each, and one conformance test each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from alwatch.records import (
        ActionEnd,
        DecoderPath,
        EmbedderIdentity,
        Exported,
        FloatArray,
        Frame,
        ImageArray,
        IntArray,
        LabelledFrame,
        LocatedSnapshot,
        Queue,
        QueuedVideo,
        ReadFrames,
        Skeleton,
        Snapshot,
        Timeline,
        VideoInfo,
    )


class Embedder(Protocol):
    """Frames in, one vector per frame out."""

    @property
    def identity(self) -> EmbedderIdentity:
        """Name, weights and dimension: what a vector's meaning depends on."""
        ...

    def frame_size_px(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Height and width at which this embedder wants the frames of such a video."""
        ...

    def embed(self, frames: ImageArray) -> FloatArray:
        """RGB uint8 frames of shape (n, h, w, 3) to float32 vectors of shape (n, dim)."""
        ...


class VideoReader(Protocol):
    """One open video."""

    def probe(self) -> tuple[VideoInfo, Timeline]:
        """Describe the video and list all its frames, decoding only where packets do not tell."""
        ...

    def read(self, indices: IntArray, *, size_px: tuple[int, int] | None = None) -> Iterator[Frame]:
        """Yield the frames at these increasing indices, shrunk to (height, width) if given.

        Indices that cannot be decoded are left out; their absence is the caller's to notice.
        """
        ...

    @property
    def path_used(self) -> DecoderPath:
        """The decoder path of the latest `read`."""
        ...


OpenVideo = Callable[[Path], AbstractContextManager[VideoReader]]


class SnapshotSource(Protocol):
    """Where the pose model lies."""

    def find(self) -> LocatedSnapshot:
        """Find the newest snapshot, light enough to be asked every minute."""
        ...

    def verify(self, located: LocatedSnapshot) -> LocatedSnapshot:
        """Give a snapshot that was found before with its files as they are now.

        Raises
        ------
        SettingsError, PoseModelError
            They are gone, or hold another snapshot by now: in words that go on a sentence.
        """
        ...


class PoseScorer(Protocol):
    """A loaded pose model: frames in, scores and poses out."""

    @property
    def snapshot(self) -> Snapshot:
        """The version of the model that the scores are of."""
        ...

    def score(self, frames: ImageArray) -> dict[str, FloatArray]:
        """RGB uint8 frames of shape (n, h, w, 3) to signals of shape (n, ...); see FrameScores."""
        ...


class Sampler(Protocol):
    """Decides which frames of a video are looked at."""

    def first(self, timeline: Timeline) -> IntArray:
        """Frame indices to look at before anything is known, increasing."""
        ...

    def more(self, timeline: Timeline, indices: IntArray, vectors: FloatArray) -> IntArray:
        """Further indices, given what was seen; empty when there is nothing more to look at."""
        ...


class LabellingTool(Protocol):
    """A project of a labelling tool, as a place for queues and a source of labels."""

    def write_queue(
        self,
        queue: Queue,
        videos: Sequence[QueuedVideo],
        read_frames: ReadFrames,
        skeleton: Skeleton,
    ) -> Exported:
        """Put the frames where the tool finds them, with the poses; twice changes nothing.

        `read_frames` yields (frame index, full-size RGB image) of one video, lazily.
        """
        ...

    def read_labels(self) -> list[LabelledFrame]:
        """List every frame of the project that a person is done with, once for each person."""
        ...

    def withdraw_queue(self, queue: Queue, videos: Sequence[QueuedVideo]) -> int:
        """Take away what `write_queue` has put there and nobody has touched; how many images.

        The caller has made sure that nothing of the queue is labelled. Frames that other queues
        have put there are not among `videos`.
        """
        ...


class Action(Protocol):
    """Something that a trigger asks for. It runs in a process of its own, which may be ended."""

    def deliver(self, key: str, evidence: dict[str, Any], workdir: Path) -> str:
        """Do it, once or again, and say in one line what was done.

        Parameters
        ----------
        key : str
            The same for every attempt of one delivery, and for no other.
        evidence : dict
            Why it is asked for, as JSON.
        workdir : Path
            A folder of this delivery's own, in which an attempt finds what the one before left.

        Raises
        ------
        ActionError
            It could not be done, and whether another attempt may help.
        """
        ...


class RunningAction(Protocol):
    """An attempt at an action, in a process of its own."""

    def poll(self) -> ActionEnd | None:
        """How it has ended, if it has; called often, and never waits."""
        ...

    def stop(self) -> None:
        """Let it end soon; `poll` tells when it has."""
        ...
