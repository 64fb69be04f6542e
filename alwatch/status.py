"""What the store says of the archive, as plain data for `alwatch status`.

No vector is touched and nothing heavy imported, so that it answers at once.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alwatch.seasons.figures import SeasonFigures
from alwatch.seasons.words import (
    drift_in_short,
    error_in_short,
    figures_in_words,
    look_in_words,
)

if TYPE_CHECKING:
    from alwatch.app import App
    from alwatch.records import Snapshot
    from alwatch.store import Store
    from alwatch.store.pools import SeasonCounts
    from alwatch.store.queues import QueueSummary
    from alwatch.store.seasons import SeasonChange
    from alwatch.store.snapshots import CurrentModel, Judgement
    from alwatch.store.triggers import Firing


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
        "seasons": [row for row, _ in last_assessed(app)],
        "retraining": [_firing_row(app, f) for f in store.triggers.firings(open_only=True)],
        "queues": [queue_row(queue) for queue in store.queues.summaries()],
        "quarantined": [
            {"video": str(video.path), "reason": video.reason}
            for video in store.videos.listing("quarantined")
            if video.present
        ],
    }


def _firing_row(app: App, firing: Firing) -> dict[str, Any]:
    """What an open firing asks for, and how far it is."""
    from alwatch.actions.deeplabcut_progress import progress_of
    from alwatch.delivery import workdir_of

    return {
        "key": firing.key,
        "seasons": list(firing.seasons),
        "reason": firing.reason,
        "fired_at": firing.fired_at.isoformat(timespec="seconds"),
        "deliveries": [
            {
                "delivery": each.id,
                "kind": each.kind,
                "state": each.state,
                "outcome": each.outcome,
                "progress": progress_of(workdir_of(app.store, each)),
            }
            for each in app.store.triggers.deliveries(firing=firing)
        ],
    }


def progress_in_words(progress: Mapping[str, Any] | None) -> str:
    """How far a training is: `training, epoch 12 of 200, until 2026-05-01T12:00:00+00:00`."""
    if not progress:
        return ""
    epoch, epochs, eta = (progress.get(name) for name in ("epoch", "epochs", "eta"))
    parts = [str(progress.get("step", ""))]
    parts += [f"epoch {epoch} of {epochs}"] * bool(epochs)
    parts += [f"until {eta}"] * bool(eta)
    return ", ".join(parts)


def last_assessed(app: App) -> list[tuple[dict[str, Any], SeasonFigures | None]]:
    """Every season's row with the figures that were kept last, `assessed_at` then."""
    store = app.store
    kept, states = store.seasons.latest(), store.seasons.states()
    rows = []
    for counts in store.pools.season_counts():
        last = kept.get(counts.season)
        figures = None if last is None else SeasonFigures.from_dict(last.figures)
        at = None if last is None else last.at.isoformat(timespec="seconds")
        row = season_row(counts, figures, states.get(counts.season), assessed_at=at)
        rows.append((row, figures))
    return rows


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
        "candidate": None,
        "last_judgement": None,
    }
    candidate = app.store.snapshots.candidate()
    judgement = app.store.snapshots.last_judgement()
    if candidate is not None:
        row["candidate"] = snapshot_row(candidate)
    if judgement is not None:
        row["last_judgement"] = snapshot_row(judgement.snapshot) | judgement_row(judgement)
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


def snapshot_row(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as a person knows it."""
    return {"snapshot": snapshot.name, "sha256": snapshot.sha256}


def judgement_row(judgement: Judgement) -> dict[str, Any]:
    """What was decided about a snapshot, and why."""
    return {
        "verdict": judgement.verdict,
        "judge": judgement.judge,
        "reason": judgement.reason,
        "against": snapshot_row(judgement.against) if judgement.against else None,
        "figures": judgement.figures,
        "judged_at": judgement.at.isoformat(timespec="seconds"),
    }


def snapshot_rows(store: Store) -> list[dict[str, Any]]:
    """Every snapshot as a row of `snapshots`, the oldest first.

    `error_px` is the mean over its honest audited frames, each counting alike.
    """
    from alwatch.gate import honest_errors

    rows = []
    with store.pools.one_view():
        for known in store.snapshots.known():
            errors_px = honest_errors(store, known.snapshot)
            rows.append(
                {
                    **snapshot_row(known.snapshot),
                    "state": known.state,
                    "first_seen_at": known.first_seen_at.isoformat(timespec="seconds"),
                    "error_px": sum(errors_px) / len(errors_px) if errors_px else None,
                    "audited_frames": len(errors_px),
                    "judgement": judgement_row(known.judgement) if known.judgement else None,
                }
            )
    return rows


def season_row(
    counts: SeasonCounts,
    figures: SeasonFigures | None,
    change: SeasonChange | None,
    **more: Any,
) -> dict[str, Any]:
    """One season as a row of `status` and `seasons`.

    Parameters
    ----------
    counts : SeasonCounts
        As they are now.
    figures : SeasonFigures or None
        None where nobody has looked at what the season needs yet.
    change : SeasonChange or None
        When it came into its state; without it the counts alone tell one.
    """
    state = "labelled" if counts.labelled else "needs labels"
    row: dict[str, Any] = {
        "season": counts.season,
        "videos": counts.videos,
        "frames": counts.frames,
        "labelled": counts.labelled,
        "queued": counts.queued,
        **(dict.fromkeys(_FIGURES) if figures is None else _figures(figures)),
        **more,
        "state": "queue out" if counts.queued else state,
        "reason": None,
        "since": None,
    }
    if change is not None:
        since = change.at.isoformat(timespec="seconds")
        row |= {"state": change.state, "reason": change.reason, "since": since}
    return row


_FIGURES = (
    "new_labels", "coverage", "uncertainty", "error_px", "baseline_px", "drift", "novel_videos"
)  # fmt: skip


def _figures(figures: SeasonFigures) -> dict[str, Any]:
    written = figures.as_dict()
    for each, drift in zip(written["drift"], figures.drift, strict=True):
        each["found"] = drift.is_found
    return {name: written[name] for name in _FIGURES}


def season_cells(row: Mapping[str, Any], figures: SeasonFigures | None) -> dict[str, Any]:
    """The same row as a person reads it in a table."""
    cells = {
        "coverage": None if figures is None else f"{100 * figures.coverage:.0f} %",
        "error": "-" if figures is None else error_in_short(figures.error_px),
        "drift": "-" if figures is None else drift_in_short(figures.drift),
        "novel": None if figures is None else len(figures.novel_videos),
    }
    return {**row, **cells}


def season_notes(row: Mapping[str, Any], figures: SeasonFigures | None) -> list[str]:
    """What a season's row in a table has no room for, in lines."""
    notes = []
    if row["reason"]:
        notes.append(f"{row['season']} is {row['state']} since {row['since']}: {row['reason']}")
    if figures is None:
        return notes
    for drift in figures.drift:
        if drift.is_found:
            videos = _names(path for path, _ in drift.videos)
            notes.append(f"{row['season']} has drift in {drift.over}, driven by {videos}")
    if figures.novel_videos:
        videos = _names(path for path, _ in figures.novel_videos)
        notes.append(f"{row['season']} has videos unlike all labelled ones: {videos}")
    return notes


@dataclass(frozen=True, slots=True)
class SeasonDetails:
    """All that is known of one season.

    Parameters
    ----------
    row : dict
        For scripts.
    sentences : sequence of (name, sentence)
        Every figure in words.
    below : mapping of str to lines
        What belongs to the sentence of that name.
    """

    row: dict[str, Any]
    sentences: Sequence[tuple[str, str]]
    below: Mapping[str, Sequence[str]]


def season_details(app: App, season: str) -> SeasonDetails:
    """One season's figures as they are now, and the history of its states.

    Raises
    ------
    SettingsError
        There is no such season.
    """
    app.check_season(season, option="SEASON")
    figures, store = app.seasons()[season], app.store
    counts = next(each for each in store.pools.season_counts() if each.season == season)
    row = season_row(counts, figures, store.seasons.states().get(season))
    row |= {
        "looks": figures.looks,
        "drift_looks": figures.drift_looks,
        "snapshot": figures.snapshot,
        "history": [
            {
                "at": change.at.isoformat(timespec="seconds"),
                "state": change.state,
                "reason": change.reason,
            }
            for change in store.seasons.changes(season)
        ],
    }
    drift = []
    for each in figures.drift:
        drift.append(look_in_words(each))
        if each.is_found:
            drift += [f"  {path} ({unlike:+.2g})" for path, unlike in each.videos]
    novel = [f"{path} (p {p:.2g})" for path, p in figures.novel_videos]
    below = {"drift": drift, "novel videos": novel}
    return SeasonDetails(row, list(figures_in_words(figures)), below)


def _names(paths: Iterable[str]) -> str:
    names = [Path(path).name for path in paths]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


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
