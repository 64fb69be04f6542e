"""What the store says of the archive, as plain data for `alwatch status`.

No vector is touched and nothing heavy imported, so that it answers at once.
"""

from __future__ import annotations

import fcntl
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alwatch.app import App
    from alwatch.store.pools import SeasonCounts
    from alwatch.store.queues import QueueSummary
    from alwatch.store.snapshots import CurrentModel


def archive_status(app: App) -> dict[str, Any]:
    """Everything `alwatch status` shows, in the shape that `--json` promises."""
    store = app.store
    current = store.snapshots.current()
    newest = app.newest_backup()
    counts = store.videos.counts()
    model = app.settings.embedding.model
    identity = next((i for i in store.pools.embedders() if i.name == model), None)
    return {
        "videos": {
            "done": counts.done,
            "partial": counts.partial,
            "quarantined": counts.quarantined,
            "waiting": counts.waiting,
            "offline": counts.offline,
        },
        "frames": store.pools.n_frames(),
        "vectors": store.pools.n_vectors(identity) if identity else 0,
        "embedder": model,
        "snapshot": current.snapshot.name if current.snapshot else None,
        "pose_model": _pose_model(app, current),
        "daemon": daemon_state(app.settings.state_dir),
        "backup": newest and newest.as_dict(),
        "roots": [
            {"root": str(root), "online": online, "problem": problem}
            for root, online, problem in store.videos.root_problems()
        ],
        "seasons": [season_row(counts) for counts in store.pools.season_counts()],
        "queues": [queue_row(queue) for queue in store.queues.summaries()],
        "quarantined": [
            {"video": str(video.path), "reason": video.reason}
            for video in store.videos.listing("quarantined")
            if video.present
        ],
    }


def _pose_model(app: App, current: CurrentModel) -> dict[str, Any] | None:
    """What scores, how far it is, and what is wrong; None where the settings name no model."""
    if app.settings.pose_model.kind == "none":
        return None
    snapshot = current.snapshot
    row: dict[str, Any] = {
        "kind": app.settings.pose_model.kind,
        "snapshot": snapshot.name if snapshot else None,
        "sha256": snapshot.sha256 if snapshot else None,
        "problem": current.problem,
    }
    if snapshot is not None:
        progress = app.store.scores.progress(snapshot)
        failures = app.store.scores.failures(snapshot)
        videos = app.store.videos.by_id(video_id for video_id, _ in failures)
        row |= asdict(progress) | {
            "failed": [
                {"video": str(videos[video_id].path), "reason": reason}
                for video_id, reason in failures
            ]
        }
    return row


def season_row(counts: SeasonCounts, **more: Any) -> dict[str, Any]:
    """One season as a row of `status` and `seasons`."""
    state = "labelled" if counts.labelled else "needs labels"
    return {
        "season": counts.season,
        "videos": counts.videos,
        "frames": counts.frames,
        "labelled": counts.labelled,
        "queued": counts.queued,
        **more,
        "state": "queue out" if counts.queued else state,
    }


def queue_row(queue: QueueSummary) -> dict[str, Any]:
    """One queue as a row of `status` and `queue list`."""
    done = queue.labelled + queue.skipped
    state = "labelled" if done == queue.frames else "out" if queue.exported_to else "not exported"
    return {
        "queue": queue.id,
        "season": queue.season,
        "strategy": queue.strategy,
        "seed": queue.seed,
        "created_at": queue.created_at.isoformat(timespec="seconds"),
        "frames": queue.frames,
        "labelled": queue.labelled,
        "skipped": queue.skipped,
        "exported_to": list(queue.exported_to),
        "state": "withdrawn" if queue.withdrawn_at else state,
    }


def daemon_state(state_dir: Path) -> str:
    """Whether a process works on this state folder: "running (process N)" or "not running"."""
    try:
        with open(state_dir / "alwatch.lock", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return f"running (process {file.read().strip() or 'unknown'})"
    except OSError:
        pass
    return "not running"
