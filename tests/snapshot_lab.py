"""A lab whose snapshots are as far off as they are told, in a real store without any video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np

from alwatch.errors import PoseModelError
from alwatch.gate import GateRules
from alwatch.promotion import CurrentPoseModel
from alwatch.records import (
    FileSignature,
    FrameScores,
    LabelledFrame,
    LabelledPoint,
    LocatedSnapshot,
    Outcome,
    Snapshot,
)
from alwatch.scoring import Scoring
from alwatch.store import Store
from tests.store.helpers import NOW, add_video

TRUTH = (10.0, 20.0)
RULES = GateRules(min_frames=5, worse_ratio=1.05)
PARTS = ("nose", "tail")
PROJECT = Path("/p")


def snapshot(number: int, parts: tuple[str, ...] = PARTS) -> Snapshot:
    return Snapshot("deeplabcut", f"snapshot-{number:03}", f"{number:064}", parts)


class Lab:
    """Two seasons of two videos, 10 frames each; a source, and models that it loads.

    `errors_px` says how far each snapshot's points lie beside the truth, by name, and by season
    where they differ; `silent` are those that find nothing but the nose. `loaded` and `scored` are
    the log.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now: datetime = NOW
        self.now_s = 0.0
        self.newest: Snapshot | None = None
        self.touched = 0
        self.gone: set[str] = set()
        self.broken: set[str] = set()
        self.errors_px: dict[str, float | dict[str, float]] = {}
        self.silent: set[str] = set()
        self.undecodable: set[int] = set()
        self.unread: list[tuple[int, int]] = []
        self.loaded: list[str] = []
        self.scored: list[tuple[str, int, int]] = []
        self.labels: list[tuple[int, LabelledFrame]] = []
        self.videos = {
            f"{season}/{name}": add_video(
                store, f"{season}/{name}.mp4", list(range(0, 100, 10)), season=season
            )
            for season in ("2025", "2026")
            for name in ("a", "b")
        }

    # --- what people do ------------------------------------------------------------------------

    def later(self, minutes: float = 60) -> datetime:
        self.now += timedelta(minutes=minutes)
        self.now_s += 60 * minutes
        return self.now

    def audit(self, videos: list[str], *, frames: int = 3, label: bool = True) -> None:
        """Queue the first frames of some videos, all of them audit frames, and label them."""
        picks = [(self.videos[v], 10 * k, 0.0, "random audit sample")
                 for v in videos for k in range(frames)]  # fmt: skip
        self.store.queues.add(
            season="s", strategy="random", seed=0, budget=len(picks), picks=picks,
            manifest={"audit_frames": len(picks)}, now=self.later(1),
        )  # fmt: skip
        if label:
            self.label([(video_id, frame) for video_id, frame, _, _ in picks])

    def label(self, frames: list[tuple[int, int]]) -> None:
        points = tuple(LabelledPoint("", part, *TRUTH) for part in PARTS)
        self.labels += [
            (video_id, LabelledFrame(PROJECT, str(video_id), frame, PROJECT, points))
            for video_id, frame in frames
        ]
        self.store.labels.set("deeplabcut", PROJECT, self.labels, self.later(1))

    def train(self, number: int, error_px: float | dict[str, float]) -> Snapshot:
        self.newest = snapshot(number)
        self.errors_px[self.newest.name] = error_px
        return self.newest

    def read_labels(self) -> None:
        if self.unread:
            self.label(self.unread)

    # --- the source ----------------------------------------------------------------------------

    def find(self) -> LocatedSnapshot:
        if self.newest is None:
            raise PoseModelError("The project is away.")
        file = Path(f"/models/{self.newest.name}.pt")
        signature = FileSignature(1, 1, 1, self.touched, 1)
        return LocatedSnapshot(self.newest, {"file": str(file)}, ((file, signature),))

    def verify(self, located: LocatedSnapshot) -> LocatedSnapshot:
        if located.snapshot.name in self.gone:
            raise PoseModelError("its files were overwritten (/models/x.pt)")
        return located

    # --- the model -----------------------------------------------------------------------------

    def model(self, **more: Any) -> CurrentPoseModel:
        """A fresh process."""
        self.store.scores.recover(self.now)
        given: dict[str, Any] = {
            "read_labels": self.read_labels, "gate": RULES, "scan_s": 60.0, "settle_s": 600.0,
            "signals": frozenset(), "clock": lambda: self.now, "timer": lambda: self.now_s,
        }  # fmt: skip
        return CurrentPoseModel(self.store, self, self.load, **given | more)

    @contextmanager
    def load(self, located: LocatedSnapshot) -> Iterator[Scoring]:
        self.loaded.append(located.snapshot.name)
        if located.snapshot.name in self.broken:
            raise PoseModelError(f"{located.snapshot.name} could not be loaded: no memory.")
        yield cast("Scoring", _Scorer(self, located.snapshot))

    def score_all(self, model: CurrentPoseModel) -> None:
        while model.work_once() is not None:
            pass

    def pose(self, snapshot: Snapshot, video_id: int, n: int) -> np.ndarray:
        error_px = self.errors_px[snapshot.name]
        if isinstance(error_px, dict):
            error_px = error_px[self.store.videos.by_id([video_id])[video_id].season or ""]
        pose = np.tile(np.array([TRUTH[0] + error_px, TRUTH[1], 0.5], "f4"), (n, 1, 2, 1))
        if snapshot.name in self.silent:
            pose[:, :, 1] = np.nan
        return pose

    @property
    def current(self) -> str | None:
        found = self.store.snapshots.current().snapshot
        return found and found.name

    @property
    def candidate(self) -> str | None:
        found = self.store.snapshots.candidate()
        return found and found.name

    @property
    def verdicts(self) -> list[tuple[str, str, str]]:
        return [(j.snapshot.name, j.verdict, j.judge) for j in self.store.snapshots.judgements()]

    @property
    def reason(self) -> str:
        judgement = self.store.snapshots.last_judgement()
        assert judgement is not None
        return judgement.reason


class _Scorer:
    """What `Scoring` does, without a video."""

    def __init__(self, lab: Lab, snapshot: Snapshot) -> None:
        self._lab = lab
        self._snapshot = snapshot

    def work_once(self, *, only: Any = None, **told: Any) -> Outcome | None:
        lab, snapshot = self._lab, self._snapshot
        claim = lab.store.scores.claim(snapshot, lab.now, only=only)
        if claim is None:
            return None
        frames = claim.frame_indices[~np.isin(claim.frame_indices, sorted(lab.undecodable))]
        n = len(frames)
        lab.scored.append((snapshot.name, claim.video_id, n))
        plain = {name: np.zeros((n, 2), np.float32) for name in ("mpe", "absent")}
        signals = {**plain, "confidence": plain["mpe"] + 0.5, "uncertainty": np.zeros(n, "f4"),
                   "pose": lab.pose(snapshot, claim.video_id, n)}  # fmt: skip
        scores = FrameScores(frames, signals)
        lab.store.scores.finish(claim, snapshot, scores, elapsed_s=1.0, now=lab.now)
        return Outcome(claim.file.path, "done", n_frames=n)
