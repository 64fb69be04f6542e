"""A lab in a store: videos that come, a person who labels, a model that is trained on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from alwatch.records import FrameScores, LabelledFrame, LabelledPoint, Queue, Snapshot
from alwatch.seasons.assess import SessionsOf, assess_seasons
from alwatch.seasons.figures import SeasonFigures
from alwatch.store import Store
from tests.store.helpers import EMBEDDER, NOW, add_video, make_current

TRUTH = (10.0, 20.0)
FRAMES = tuple(range(0, 50, 5))

ErrorOf = float | Callable[[int, int], float]
"""Pixels, everywhere or by video id and frame index."""


class Lab:
    """Every call is an hour after the one before."""

    def __init__(self, store: Store) -> None:
        self.store, self.now = store, NOW
        self.rng = np.random.default_rng(0)
        self.labels: dict[tuple[int, int], LabelledFrame] = {}
        self.n_snapshots = 0
        self.sessions_of: SessionsOf | None = None

    def later(self) -> datetime:
        self.now += timedelta(hours=1)
        return self.now

    def videos(
        self, season: str, names: str | list[str], *, direction: int = 0, spread: float = 0.1
    ) -> list[int]:
        """Videos of ten frames, whose vectors lie about one axis of the space."""
        ids, now = [], self.later()
        for name in names:
            centre = np.eye(4)[direction] + self.rng.normal(0, spread, 4)
            vectors = centre + self.rng.normal(0, 0.05, (len(FRAMES), 4))
            path = f"{season}/{name}.mp4"
            ids.append(
                add_video(self.store, path, list(FRAMES), season=season, vectors=vectors, now=now)
            )
        return ids

    def train(self, error_px: ErrorOf, *, uncertainty: float | dict[int, float] = 0.2) -> Snapshot:
        """A snapshot so far beside the truth, twice as far for the tail; it knows where."""
        self.n_snapshots += 1
        number = self.n_snapshots
        snapshot = Snapshot("deeplabcut", f"snapshot-{number}", f"{number:064}", ("nose", "tail"))
        make_current(self.store, snapshot, self.later())
        self.score(snapshot, error_px, uncertainty=uncertainty)
        return snapshot

    def score(
        self, snapshot: Snapshot, error_px: ErrorOf, *, uncertainty: float | dict[int, float] = 0.2
    ) -> None:
        """Let a snapshot score what waits."""
        while claim := self.store.scores.claim(snapshot, self.now):
            frames = claim.frame_indices.tolist()
            errors = [
                error_px(claim.video_id, frame) if callable(error_px) else error_px
                for frame in frames
            ]
            off = np.array(errors, "f4")[:, None] * np.array([1, 2], "f4")
            sure = 1 / (1 + off)
            pose = np.stack([TRUTH[0] + off, np.full_like(off, TRUTH[1]), sure], axis=2)
            doubt = uncertainty
            if isinstance(doubt, dict):
                doubt = doubt.get(claim.video_id, 0.2)
            noise = np.linspace(-0.01, 0.01, len(frames), dtype="f4")
            signals = {
                "pose": pose[:, None],
                "uncertainty": np.float32(doubt) + noise,
                "confidence": sure,
            }
            scores = FrameScores(claim.frame_indices, signals)
            self.store.scores.finish(claim, snapshot, scores, elapsed_s=1.0, now=self.now)

    def queue(
        self, season: str, frames: list[tuple[int, int]], *, audit: int = 0, **manifest: Any
    ) -> Queue:
        current = self.store.snapshots.current().snapshot
        return self.store.queues.add(
            season=season,
            strategy="stride",
            seed=0,
            budget=len(frames),
            picks=[(video, frame, 0.5, "because") for video, frame in frames],
            manifest={
                "audit_frames": audit,
                "snapshot": current and current.sha256,
                "trust": 0.0,
                **manifest,
            },
            now=self.later(),
        )

    def label(self, *frames: tuple[int, int]) -> None:
        points = tuple(LabelledPoint("", part, *TRUTH) for part in ("nose", "tail"))
        for video, frame in frames:
            label = LabelledFrame(Path("/p"), str(video), frame, Path("/p"), points)
            self.labels[video, frame] = label
        labels = [(video, label) for (video, _), label in self.labels.items()]
        self.store.labels.set("deeplabcut", Path("/p"), labels, self.later())

    def assess(self, season: str, before: SeasonFigures | None = None) -> SeasonFigures:
        earlier = {season: before} if before else {}
        return assess_seasons(
            self.store,
            EMBEDDER,
            [season],
            before=earlier,
            drift_alpha=0.05,
            sessions_of=self.sessions_of,
        )[season]
