"""The clock that ticks once per video: claim -> check -> probe -> look -> embed -> one transaction.

This file alone knows the order of these steps. It is also the one boundary that catches
everything: whatever a video does, the fault is written on that video and the next one follows.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alwatch.errors import (
    DecoderDiedError,
    StopRequestedError,
    StoreError,
    VideoError,
    VideoIncompleteError,
    shown,
)
from alwatch.protocols import Embedder, OpenVideo, Sampler, VideoReader
from alwatch.records import (
    FileSignature,
    Frame,
    IngestedVideo,
    Outcome,
    SeenFile,
    Timeline,
    VideoInfo,
)
from alwatch.store import Store
from alwatch.store.videos import Claim

if TYPE_CHECKING:
    from alwatch.records import BoolArray, FloatArray, IntArray

log = logging.getLogger(__name__)

CHUNK_FRAMES = 32
"""Frames handed to the embedder at once; the decoder works on the next ones meanwhile."""


@dataclass(frozen=True, slots=True)
class IngestRules:
    """How much patience a video gets.

    Parameters
    ----------
    attempts : int
        How often a video may kill or hang its decoder before it is quarantined.
    patience_s : float
        How long a file that looks unfinished, though nobody writes to it, is waited for.
    """

    attempts: int = 3
    patience_s: float = 600.0


@dataclass(frozen=True, slots=True)
class _Looked:
    """Frames asked for, and those that came, in frame order with their vectors (n, dim)."""

    asked: IntArray
    indices: IntArray
    keyframes: BoolArray
    vectors: FloatArray

    @classmethod
    def nothing(cls, dim: int) -> _Looked:
        none = np.empty(0, np.int64)
        return cls(none, none, np.empty(0, np.bool_), np.empty((0, dim), np.float32))

    @classmethod
    def together(cls, parts: Sequence[_Looked], also_asked: IntArray) -> _Looked:
        indices = np.concatenate([part.indices for part in parts])
        order = np.argsort(indices)
        return cls(
            asked=np.concatenate([*(part.asked for part in parts), also_asked]),
            indices=indices[order],
            keyframes=np.concatenate([part.keyframes for part in parts])[order],
            vectors=np.concatenate([part.vectors for part in parts])[order],
        )


def register(
    store: Store, file: SeenFile, content_hash: Callable[[Path], str], now: datetime
) -> bool:
    """Tie a settled file to the video that is its content; True where that content is new.

    A file that cannot be read at all is quarantined under a name of its own, and gets another
    try when its permissions change.
    """
    try:
        identity = content_hash(file.path)
    except FileNotFoundError:
        return False
    except (OSError, VideoError) as error:
        if store.videos.at(file.path) is not None:
            return False  # what is known of it outlives a drive that fails for a while
        name = hashlib.blake2b(os.fsencode(file.path), digest_size=8).hexdigest()
        is_new = store.videos.link(file, f"unreadable-{name}", now)
        stored = store.videos.at(file.path)
        assert stored is not None
        reason = str(error.strerror if isinstance(error, OSError) else error)
        store.videos.set_aside(
            stored.id, "quarantined", f"{shown(file.path)} cannot be read: {reason}", now
        )
        return is_new
    return store.videos.link(file, identity, now)


class Ingest:
    """Turns settled files into frames and vectors in the store.

    Parameters
    ----------
    store : Store
    embedder, sampler, open_video
        The exchangeable parts.
    season_of : callable
        Season of a file, given the container's recording time if it has one.
    has_zero_tail : callable
        Whether a file ends in zeros, as one does whose space is allocated but not yet written.
    rules : IngestRules
    clock : callable
        The time of day, in UTC.
    """

    def __init__(
        self,
        store: Store,
        *,
        embedder: Embedder,
        sampler: Sampler,
        open_video: OpenVideo,
        season_of: Callable[[SeenFile, datetime | None], str],
        has_zero_tail: Callable[[Path], bool],
        rules: IngestRules,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._sampler = sampler
        self._open_video = open_video
        self._season_of = season_of
        self._has_zero_tail = has_zero_tail
        self._rules = rules
        self._clock = clock

    def work_once(
        self,
        *,
        under: Iterable[Path] | None = None,
        on_start: Callable[[Path], None] = lambda path: None,
        on_frames: Callable[[int], None] = lambda n: None,
    ) -> Outcome | None:
        """Ingest the next video that is ready; None when there is none.

        Parameters
        ----------
        under : paths, optional
            Take only videos at these paths.
        on_start : callable
            Told the path before work begins.
        on_frames : callable
            Told how many frames have been embedded since the last call.

        Raises
        ------
        StopRequestedError
            A callback wanted the work to end; the video is ready again, as if never tried.
        StoreError
            The store cannot be written. The video stays claimed until `recover`.
        """
        claim = self._store.videos.claim(self._clock(), under=under)
        if claim is None:
            return None
        try:
            on_start(claim.file.path)
            return self._ingest(claim, on_frames)
        except (StopRequestedError, KeyboardInterrupt):
            self._store.videos.release(claim, self._clock())
            raise
        except StoreError:
            raise
        except VideoIncompleteError as error:
            return self._wait(claim, str(error))
        except VideoError as error:
            # A drive that went away makes a video look bad; only what is there is quarantined.
            return self._changed(claim) or self._quarantine(claim, str(error))
        except Exception as error:
            if not isinstance(error, DecoderDiedError):
                log.exception("ingesting %s failed in an unforeseen way", shown(claim.file.path))
            return self._retry(claim, shown(str(error) or repr(error)))

    def _ingest(self, claim: Claim, on_frames: Callable[[int], None]) -> Outcome:
        path = claim.file.path
        changed = self._changed(claim)
        if changed is not None:
            return changed
        if self._has_zero_tail(path) and claim.attempts == 1:
            raise VideoIncompleteError(
                f"{shown(path)} ends in zeros, as a file does that is still being written."
            )
        with self._open_video(path) as video:
            info, timeline = video.probe()
            looked = self._look(video, info, timeline, on_frames)
            decoder_path = video.path_used
        changed = self._changed(claim)
        if changed is not None:
            return changed
        asked, got = len(looked.asked), len(looked.indices)
        if got == 0:
            raise VideoError(
                f"{shown(path)} has {timeline.n_frames} frames but none can be decoded."
            )
        notes = [info.problem] if info.problem else []
        if got < asked:
            notes.append(
                f"{asked - got} of {asked} frames could not be decoded; the last one that could "
                f"is {looked.indices[-1]} of 0 to {timeline.n_frames - 1}"
            )
        note = "; ".join(notes) or None
        result = IngestedVideo(
            info=info,
            n_frames=timeline.n_frames,
            frame_indices=looked.indices,
            times_s=np.array([timeline.time_s(int(index)) for index in looked.indices]),
            keyframes=looked.keyframes,
            vectors=looked.vectors.astype(np.float16),
            embedder=self._embedder.identity,
            decoder_path=decoder_path,
            state="done" if note is None else "partial",
            note=note,
        )
        season = self._season_of(claim.file, info.recorded_at)
        self._store.videos.finish(claim.video_id, result, season, self._clock())
        return Outcome(path, result.state, note, got)

    def _look(
        self,
        video: VideoReader,
        info: VideoInfo,
        timeline: Timeline,
        on_frames: Callable[[int], None],
    ) -> _Looked:
        """Read and embed frames for as long as the sampler asks for ones not yet asked for."""
        size_px = self._embedder.frame_size_px(info.height_px, info.width_px)
        looked = _Looked.nothing(self._embedder.identity.dim)
        wanted = self._sampler.first(timeline)
        while wanted.size:
            parts = [looked]
            for chunk in _chunks(video.read(wanted, size_px=size_px)):
                parts.append(
                    _Looked(
                        asked=np.empty(0, np.int64),
                        indices=np.array([frame.index for frame in chunk], np.int64),
                        keyframes=np.array([frame.keyframe for frame in chunk], np.bool_),
                        vectors=self._embedder.embed(np.stack([frame.image for frame in chunk])),
                    )
                )
                on_frames(len(chunk))
            looked = _Looked.together(parts, also_asked=wanted)
            more = self._sampler.more(timeline, looked.indices, looked.vectors)
            wanted = np.setdiff1d(more, looked.asked)
        return looked

    def _changed(self, claim: Claim) -> Outcome | None:
        """Discard the work if the file is not the one that was found settled."""
        path = claim.file.path
        try:
            now_there = FileSignature.from_stat(path.stat())
        except FileNotFoundError:
            self._store.videos.mark_absent(claim.file)
            self._store.videos.release(claim, self._clock())
            return Outcome(path, "waiting", "it is not there any more")
        if now_there == claim.file.signature:
            return None
        self._store.videos.unlink(claim.file, self._clock())
        self._store.videos.release(claim, self._clock())  # another copy may hold the content
        return Outcome(path, "waiting", "it has changed since it was found settled")

    # --- what becomes of a video that could not be ingested ------------------------------------

    def _wait(self, claim: Claim, reason: str) -> Outcome:
        """Wait once for a file that looks unfinished; if nobody ever went on with it, give up.

        Should its writer go on later, the file changes, and becomes a new video by that.
        """
        if claim.attempts > 1 or self._rules.patience_s <= 0:
            return self._quarantine(claim, reason)
        retry_at = self._clock() + timedelta(seconds=self._rules.patience_s)
        self._store.videos.set_aside(
            claim.video_id, "waiting", reason, self._clock(), retry_at=retry_at
        )
        return Outcome(claim.file.path, "waiting", reason)

    def _retry(self, claim: Claim, reason: str) -> Outcome:
        if claim.attempts >= self._rules.attempts:
            return self._quarantine(claim, f"{reason} ({claim.attempts} attempts)")
        self._store.videos.set_aside(claim.video_id, "ready", reason, self._clock())
        return Outcome(claim.file.path, "ready", reason)

    def _quarantine(self, claim: Claim, reason: str) -> Outcome:
        self._store.videos.set_aside(claim.video_id, "quarantined", reason, self._clock())
        return Outcome(claim.file.path, "quarantined", reason)


def _chunks(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    iterator = iter(frames)
    while chunk := list(itertools.islice(iterator, CHUNK_FRAMES)):
        yield chunk
