"""What labelling a season has brought: the model before and after, and round by round.

Everything is plain data, as `alwatch seasons report --json` prints it and the page shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from alwatch.records import LabelledPoint, Queue, Snapshot
from alwatch.scored import doubts_and_errors, errors_on, proved_trust, season_uncertainty
from alwatch.scores.aggregation import rank_correlation
from alwatch.scores.bootstrap import difference_over_videos
from alwatch.seasons.assess import INTERVAL_LEVEL, interval_of
from alwatch.seasons.figures import SeasonFigures, finite
from alwatch.store import Store

if TYPE_CHECKING:
    from alwatch.records import FloatArray

    Frame = tuple[int, int]
    Labels = Mapping[Frame, tuple[LabelledPoint, ...]]
    Errors = dict[Frame, FloatArray]

_ENOUGH_SCORED = 0.5
"""Snapshots that have scored a smaller share of the audited frames are not compared."""


def season_report(
    store: Store, season: str, figures: SeasonFigures, *, seed: int = 0
) -> dict[str, Any]:
    """Gather what labelling a season has brought.

    Audited frames are those that queues held as a random audit and that are labelled. Snapshots
    are compared on the same of them. A frame is honest for a snapshot that cannot know its
    label, or whose training has left it out.

    Parameters
    ----------
    store : Store
    season : str
    figures : SeasonFigures
        As they are now.
    seed : int
        Draws the intervals.

    Returns
    -------
    dict
        `season`, `figures`, `labels`, `snapshots` (oldest first), `change` (from the snapshot
        under which labelling began to the current one; None where there is no such pair),
        `rounds` (queue by queue) and `history` (its changes of state).
    """
    with store.pools.one_view():
        found = _Season(store, season, seed)
        return {
            "season": season,
            "figures": figures.as_dict(),
            "labels": {
                "labelled": figures.labelled,
                "queues": len(found.queues),
                "audited": len(found.frames),
                "audited_videos": len({video for video, _ in found.frames}),
            },
            "snapshots": found.by_snapshot(),
            "change": found.change(),
            "rounds": found.rounds(),
            "history": [
                {
                    "state": change.state,
                    "reason": change.reason,
                    "at": change.at.isoformat(timespec="seconds"),
                }
                for change in store.seasons.changes(season)
            ],
        }


def summary_of(report: Mapping[str, Any]) -> str:
    """What a report comes to, in a sentence or two."""
    labels, change = report["labels"], report["change"]
    text = f"{labels['labelled']} frames are labelled, in {labels['queues']} rounds."
    if change is None:
        return (
            f"{text} Nothing can be compared yet: it takes labelled audit frames "
            "(queue.audit_share) and a snapshot that came after them."
        )
    found = change["honest"] or change["all"]
    which = (
        "that neither was trained on"
        if change["honest"]
        else ("that the later one may have been trained on, so that its own error is too low")
    )
    return (
        f"{text} The error went from {found['before_px']:.3g} px ({change['before']}) to "
        f"{found['after_px']:.3g} px ({change['after']}) on the same {found['frames']} audited "
        f"frames of {found['videos']} videos, {which}."
    )


def _found(errors_px: Errors) -> Errors:
    """Without frames of which the snapshot has found nothing."""
    return {at: px for at, px in errors_px.items() if np.isfinite(px).any()}


class _Season:
    """A season's queues and labels, and every snapshot on its audited frames."""

    def __init__(self, store: Store, season: str, seed: int) -> None:
        self._store, self._season, self._seed = store, season, seed
        self.queues = _queues(store, season)
        self.current = store.snapshots.current().snapshot
        self.snapshots = store.snapshots.scored()
        self.points = store.labels.points()
        self.unknown = {s.sha256: store.labels.points(after=s) for s in self.snapshots}
        audit = [at for at in store.queues.audit_frames(season) if at in self.points]
        labels = {at: self.points[at] for at in audit}
        on_audit = {s.sha256: _found(errors_on(store, s, labels)) for s in self.snapshots}
        self.errors = {
            sha256: found
            for sha256, found in on_audit.items()
            if found and len(found) >= _ENOUGH_SCORED * len(audit)
        }
        common = set(audit).intersection(*self.errors.values()) if self.errors else set()
        self.frames = sorted(common)
        self.honest = {
            s.sha256: common & store.labels.points(after=s, held_out=True).keys()
            for s in self.snapshots
        }

    def _labels_known(self, snapshot: Snapshot) -> int:
        """How many of the season's labels a snapshot may know."""
        seasons = self._store.videos.seasons()
        known = self.points.keys() - self.unknown[snapshot.sha256].keys()
        return sum(seasons.get(video) == self._season for video, _ in known)

    def by_snapshot(self) -> list[dict[str, Any]]:
        """Every snapshot that has scored the season, the oldest first."""
        rows = []
        for snapshot in self.snapshots:
            uncertainty = season_uncertainty(self._store, snapshot, self._season)
            errors = self.errors.get(snapshot.sha256)
            if uncertainty is None and errors is None:
                continue
            honest = self.honest[snapshot.sha256]
            on = {at: float(np.nanmean(errors[at])) for at in self.frames} if errors else {}
            rows.append(
                {
                    "snapshot": snapshot.name,
                    "sha256": snapshot.sha256,
                    "since": self._store.snapshots.first_seen(snapshot).isoformat(
                        timespec="seconds"
                    ),
                    "current": snapshot == self.current,
                    "labels": self._labels_known(snapshot),
                    "uncertainty": uncertainty,
                    "error_px": _interval(on, self._seed),
                    "honest_error_px": _interval(
                        {at: e for at, e in on.items() if at in honest}, self._seed
                    ),
                    "honest_frames": len(honest) if errors else 0,
                }
            )
        return rows

    def change(self) -> dict[str, Any] | None:
        """From the snapshot under which labelling began to the current one."""
        before, after = next(iter(self._made_under().values()), None), self.current
        if before is None or after is None or before == after or not self.frames:
            return None
        if before.sha256 not in self.errors or after.sha256 not in self.errors:
            return None
        old, new = self.errors[before.sha256], self.errors[after.sha256]
        honest = self.honest[before.sha256] & self.honest[after.sha256]
        videos = self._store.videos.by_id(video for video, _ in self.frames)
        names = {video_id: str(video.path) for video_id, video in videos.items()}
        by_frame = [
            {
                "video": names[at[0]],
                "frame": at[1],
                "before_px": float(np.nanmean(old[at])),
                "after_px": float(np.nanmean(new[at])),
                "honest": at in honest,
            }
            for at in self.frames
        ]
        return {
            "before": before.name,
            "after": after.name,
            "frames": len(self.frames),
            "honest_frames": len(honest),
            "all": self._difference(old, new, self.frames),
            "honest": self._difference(old, new, sorted(honest)),
            "bodyparts": _by_bodypart(before, after, old, new, self.frames),
            "videos": _by_video(by_frame),
            "by_frame": by_frame,
        }

    def _difference(
        self, old: Errors, new: Errors, frames: Sequence[Frame]
    ) -> dict[str, Any] | None:
        if not frames:
            return None
        before, after = (
            np.array([float(np.nanmean(errors[at])) for at in frames]) for errors in (old, new)
        )
        video = np.array([video_id for video_id, _ in frames], np.int64)
        found = difference_over_videos(
            after, before, video, np.random.default_rng(self._seed), level=INTERVAL_LEVEL
        )
        means = [_mean_over_videos(values, video) for values in (before, after)]
        written: dict[str, Any] = finite(
            {
                "before_px": means[0],
                "after_px": means[1],
                "difference_px": found.mean,
                "low": found.low,
                "high": found.high,
                "frames": len(frames),
                "videos": found.n_videos,
            }
        )
        return written

    def rounds(self) -> list[dict[str, Any]]:
        """Queue by queue, how the chosen frames compare with the random ones."""
        trusts = {
            sha256: proved_trust(self._store, snapshot)
            for sha256, snapshot in self._made_under().items()
        }
        return [self._round(queue, trusts) for queue in self.queues]

    def _made_under(self) -> dict[str, Snapshot]:
        """The snapshots that queues were made under, in the order of the queues."""
        known = {snapshot.sha256: snapshot for snapshot in self.snapshots}
        shas = [queue.manifest.get("snapshot") for queue in self.queues]
        return {sha256: known[sha256] for sha256 in shas if sha256 in known}

    def _round(self, queue: Queue, trusts: Mapping[str, float]) -> dict[str, Any]:
        """One queue: how wrong the snapshot that it was made under is on its frames."""
        snapshot = self._made_under().get(queue.manifest.get("snapshot", ""))
        frames = [(frame.video_id, frame.frame) for frame in queue.frames]
        audit = set(frames[: queue.manifest.get("audit_frames", 0)])
        labels = self.unknown[snapshot.sha256] if snapshot else {}
        labels = {at: labels[at] for at in frames if at in labels}
        found = doubts_and_errors(self._store, snapshot, labels) if snapshot else {}
        doubt, error_px = np.array(list(found.values())).reshape(-1, 2).T
        errors = {at: error for at, (_, error) in found.items()}
        chosen = {at: error for at, error in errors.items() if at not in audit}
        random = {at: error for at, error in errors.items() if at in audit}
        return {
            "queue": queue.id,
            "created_at": queue.created_at.isoformat(timespec="seconds"),
            "strategy": queue.strategy,
            "frames": len(frames),
            "labelled": sum(at in self.points for at in frames),
            "snapshot": snapshot.name if snapshot else None,
            "trust": queue.manifest.get("trust"),
            "chosen_px": _interval(chosen, self._seed),
            "random_px": _interval(random, self._seed),
            "rank_correlation": rank_correlation(doubt, error_px),
            "compared": len(found),
            "proved_trust": trusts[snapshot.sha256] if snapshot else None,
        }


def _queues(store: Store, season: str) -> list[Queue]:
    return [
        store.queues.get(summary.id)
        for summary in store.queues.summaries()
        if summary.season == season and summary.withdrawn_at is None
    ]


def _interval(errors_px: Mapping[Frame, float], seed: int) -> dict[str, Any] | None:
    found = interval_of(errors_px, np.random.default_rng(seed))
    return finite(asdict(found)) if found else None


def _by_bodypart(
    before: Snapshot, after: Snapshot, old: Errors, new: Errors, frames: Sequence[Frame]
) -> list[dict[str, Any]]:
    """Every bodypart that both snapshots know, over the frames in which both have found it."""
    rows = []
    for name in before.bodyparts:
        if name not in after.bodyparts:
            continue
        one, other = before.bodyparts.index(name), after.bodyparts.index(name)
        pairs = np.array([(old[at][one], new[at][other]) for at in frames], np.float64)
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        if len(pairs):
            was, is_now = pairs.mean(axis=0).tolist()
            n = len(pairs)
            rows.append({"bodypart": name, "before_px": was, "after_px": is_now, "frames": n})
    return rows


def _by_video(by_frame: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every video, the one that was worst before first."""
    of_video: dict[str, list[dict[str, Any]]] = {}
    for row in by_frame:
        of_video.setdefault(row["video"], []).append(row)
    rows = [
        {
            "video": video,
            "before_px": float(np.mean([row["before_px"] for row in rows])),
            "after_px": float(np.mean([row["after_px"] for row in rows])),
            "frames": len(rows),
            "honest": sum(row["honest"] for row in rows),
        }
        for video, rows in of_video.items()
    ]
    return sorted(rows, key=lambda row: -row["before_px"])


def _mean_over_videos(
    values: np.ndarray[Any, np.dtype[np.float64]], video: np.ndarray[Any, np.dtype[np.int64]]
) -> float:
    return float(np.mean([values[video == each].mean() for each in np.unique(video)]))
