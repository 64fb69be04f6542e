"""The clock that ticks once per video and snapshot: claim -> decode -> score -> one transaction.

New videos and a new snapshot go the same way: whatever the current snapshot has not scored is
scored, newest season first. Whatever a video or a model does, the fault is written on that
video's scoring and the next one follows.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alwatch.errors import (
    DecoderDiedError,
    PoseModelError,
    SettingsError,
    StopRequestedError,
    StoreError,
    UnscorableError,
    VideoError,
    shown,
)
from alwatch.protocols import OpenVideo, PoseScorer
from alwatch.records import Frame, FrameScores, Outcome
from alwatch.scores.pose_signals import pose_disagreement, with_scene_apart
from alwatch.store import Store
from alwatch.store.scores import ScoringClaim

if TYPE_CHECKING:
    from alwatch.records import FloatArray, IntArray

log = logging.getLogger(__name__)

_CHUNK_BYTES = 64 * 2**20
"""Of full-size frames handed to the model at once; the decoder works on the next meanwhile."""

_IN_A_ROW = 3
"""So many videos that cannot be scored, one after the other, are the model's fault."""


class Scoring:
    """Scores the archive by one snapshot.

    Parameters
    ----------
    store : Store
    scorer : PoseScorer
    open_video : callable
    attempts : int
        How often a video may be tried before it counts as failed.
    with_change : bool
        Whether the frame after each one is scored too, to measure how much the poses change
        between neighbouring frames. It doubles the work.
    clock : callable
        The time of day, in UTC.
    timer : callable
        Seconds on a clock that only goes forward.
    """

    def __init__(
        self,
        store: Store,
        *,
        scorer: PoseScorer,
        open_video: OpenVideo,
        attempts: int,
        with_change: bool,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
    ) -> None:
        self._store = store
        self._scorer = scorer
        self._open_video = open_video
        self._attempts = attempts
        self._with_change = with_change
        self._clock = clock
        self._timer = timer
        self._unscorable: list[str] = []

    def work_once(
        self,
        *,
        on_start: Callable[[Path], None] = lambda path: None,
        on_frames: Callable[[int], None] = lambda n: None,
        only: Mapping[int, Collection[int]] | None = None,
    ) -> Outcome | None:
        """Score the next video that the snapshot has not scored; None when there is none.

        Parameters
        ----------
        on_start : callable
            Told the path before work begins.
        on_frames : callable
            Told how many frames have been scored since the last call.
        only : mapping of int to collection of int, optional
            Only these videos, and of each only these frames, as `Scores.claim`.

        Raises
        ------
        StopRequestedError
            A callback wanted the work to end; the video is given back, as if never tried.
        SettingsError, PoseModelError
            The model cannot score at all; the video is given back. Or three videos in a row
            could not be scored, which is hardly their fault.
        StoreError
            The store cannot be written.
        """
        snapshot, now = self._scorer.snapshot, self._clock
        claim = self._store.scores.claim(snapshot, now(), only=only)
        if claim is None:
            return None
        path = claim.file.path
        if claim.attempts > self._attempts:
            return self._set_aside(claim, f"alwatch ended {claim.attempts - 1} times at it.")
        if not claim.file.is_unchanged():
            return self._gone(claim)
        try:
            on_start(path)
            started_s = self._timer()
            scores = self._score(claim, on_frames)
        except UnscorableError as error:
            return self._count_unscorable(self._set_aside(claim, shown(str(error))))
        except (StopRequestedError, KeyboardInterrupt, SettingsError, PoseModelError):
            self._give_back(claim)
            raise
        except StoreError:
            raise
        except Exception as error:
            if not claim.file.is_unchanged():  # a drive that went away makes a video look bad
                return self._gone(claim)
            if not isinstance(error, VideoError | OSError | DecoderDiedError):
                log.exception("scoring %s failed in an unforeseen way", shown(path))
            return self._set_aside(claim, shown(str(error) or repr(error)))
        if not claim.file.is_unchanged():
            return self._gone(claim)
        self._unscorable.clear()
        self._store.scores.finish(
            claim, snapshot, scores, elapsed_s=self._timer() - started_s, now=now()
        )
        return Outcome(path, "done", n_frames=len(scores.frame_indices))

    def _score(self, claim: ScoringClaim, on_frames: Callable[[int], None]) -> FrameScores:
        path, wanted = claim.file.path, claim.frame_indices
        with self._open_video(path) as video:
            _, timeline = video.probe()
            indices = wanted
            if self._with_change:
                following = wanted[wanted + 1 < timeline.n_frames] + 1
                indices = np.union1d(wanted, following)
            came: list[IntArray] = []
            parts: list[dict[str, FloatArray]] = []
            for chunk in _chunks(video.read(indices)):
                parts.append(self._scorer.score(np.stack([frame.image for frame in chunk])))
                came.append(np.array([frame.index for frame in chunk], np.int64))
                on_frames(len(chunk))
        if not parts:
            raise VideoError(f"none of the {len(wanted)} frames of {shown(path)} can be decoded.")
        found = np.concatenate(came)
        signals = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if self._with_change:
            signals["change"] = _change_to_next(
                found, signals["pose"], self._scorer.snapshot.n_unique
            )
        rows = np.isin(found, wanted)
        return FrameScores(found[rows], {name: array[rows] for name, array in signals.items()})

    # --- what becomes of a video that could not be scored --------------------------------------

    def _gone(self, claim: ScoringClaim) -> Outcome:
        """Leave a file that is not the one that was ingested to the next scan."""
        self._store.videos.mark_absent(claim.file)
        self._give_back(claim)
        return Outcome(claim.file.path, "waiting", "gone or changed since it was ingested")

    def _give_back(self, claim: ScoringClaim) -> None:
        self._store.scores.set_aside(
            claim.video_id, self._scorer.snapshot, "ready", None, self._clock(), untried=True
        )

    def _count_unscorable(self, outcome: Outcome) -> Outcome:
        self._unscorable.append(f"{shown(outcome.path)}: {outcome.reason}")
        if len(self._unscorable) < _IN_A_ROW:
            return outcome
        raise PoseModelError(
            f"{len(self._unscorable)} videos in a row could not be scored, the last one "
            f"{self._unscorable[-1]}"
        )

    def _set_aside(self, claim: ScoringClaim, reason: str) -> Outcome:
        state = "failed" if claim.attempts >= self._attempts else "ready"
        self._store.scores.set_aside(
            claim.video_id, self._scorer.snapshot, state, reason, self._clock()
        )
        return Outcome(claim.file.path, state, reason)


def _change_to_next(indices: IntArray, poses: FloatArray, n_unique: int) -> FloatArray:
    """Disagreement (n, k) with the pose of the next frame; NaN where that was not scored."""
    change = np.full((len(indices), poses.shape[2]), np.nan, np.float32)
    has_next = np.flatnonzero(indices[1:] == indices[:-1] + 1)
    if len(has_next):
        change[has_next] = with_scene_apart(
            pose_disagreement, poses[has_next], poses[has_next + 1], n_unique=n_unique
        )
    return change


def _chunks(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Frames in chunks of some 64 MB; a video's frames are all of one size."""
    iterator = iter(frames)
    for first in iterator:
        size = max(1, _CHUNK_BYTES // max(first.image.nbytes, 1))
        yield [first, *itertools.islice(iterator, size - 1)]
