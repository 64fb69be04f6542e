"""Ready-made content for store tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from alwatch.records import (
    EmbedderIdentity,
    FileSignature,
    IngestedVideo,
    LocatedSnapshot,
    SeenFile,
    Snapshot,
    VideoInfo,
)
from alwatch.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD = Snapshot("deeplabcut", "snapshot-050", "a" * 64, ("nose", "tail"))
NEW = Snapshot("deeplabcut", "snapshot-100", "b" * 64, ("nose", "tail"))
EMBEDDER = EmbedderIdentity("test", "recipe-1", 4)


def seen(path: str, *, root: str = "/archive", inode: int = 1, size: int = 100) -> SeenFile:
    """A file that a scan may have found."""
    return SeenFile(Path(root) / path, Path(root), FileSignature(1, inode, size, 10, 10))


def ingested(
    indices: list[int],
    *,
    embedder: EmbedderIdentity = EMBEDDER,
    vectors: np.ndarray | None = None,
    n_frames: int = 1000,
) -> IngestedVideo:
    """The outcome of ingesting a video of 25 frames a second."""
    n = len(indices)
    if vectors is None:
        vectors = np.arange(n * embedder.dim).reshape(n, embedder.dim) / 8
    return IngestedVideo(
        info=VideoInfo("mp4", "h264", 64, 48, 0, 25.0, 40.0),
        n_frames=n_frames,
        frame_indices=np.array(indices, np.int64),
        times_s=np.array(indices) / 25,
        keyframes=np.zeros(n, np.bool_),
        vectors=np.asarray(vectors, np.float16),
        embedder=embedder,
        decoder_path="sequence",
    )


def add_video(
    store: Store,
    path: str,
    indices: list[int],
    *,
    season: str = "s1",
    vectors: np.ndarray | None = None,
    root: str = "/archive",
    now: datetime = NOW,
) -> int:
    """Put an ingested video into the store, by the same calls that the daemon makes."""
    store.videos.link(seen(path, root=root), f"hash-of-{path}", now)
    claim = store.videos.claim(now)
    assert claim is not None
    store.videos.finish(claim.video_id, ingested(indices, vectors=vectors), season, now)
    return claim.video_id


def make_current(store: Store, snapshot: Snapshot, now: datetime) -> None:
    """Make a snapshot the one that scores, whatever was before."""
    store.snapshots.register(LocatedSnapshot(snapshot, {}), now)
    current = store.snapshots.current().snapshot
    reason = "a test needs it"
    assert store.snapshots.promote(snapshot, judge="hand", reason=reason, now=now, against=current)
