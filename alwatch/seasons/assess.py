"""What each season is like now: its figures, from the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from alwatch.records import EmbedderIdentity, LabelledPoint, Snapshot
from alwatch.scored import errors_on, season_uncertainty
from alwatch.scores.bootstrap import VideoMean, mean_over_videos
from alwatch.seasons.coverage import Novelty, season_coverages
from alwatch.seasons.figures import Interval, SeasonFigures
from alwatch.seasons.looks import Campaign, Looks, Recording, campaign_name, look
from alwatch.seasons.vectors import labelled_vectors
from alwatch.store import Store
from alwatch.store.pools import SeasonVideo

INTERVAL_LEVEL = 0.9

Frame = tuple[int, int]
"""Video id and frame index."""

SessionsOf = Callable[[Iterable[int]], Mapping[int, str | None]]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Which labels the current snapshot may know, and which it cannot.

    Parameters
    ----------
    snapshot : Snapshot or None
    known, unknown : mappings of (video id, frame index) to people's points
        Without a snapshot, `unknown` are the labels of queued frames, and `known` all.
    honest : mapping of (video id, frame index) to people's points
        Those that are unknown, or that its training has left out.
    """

    snapshot: Snapshot | None
    known: Mapping[Frame, tuple[LabelledPoint, ...]]
    unknown: Mapping[Frame, tuple[LabelledPoint, ...]]
    honest: Mapping[Frame, tuple[LabelledPoint, ...]]


def knowledge_of(store: Store, snapshot: Snapshot | None) -> Knowledge:
    """Tell labels that a snapshot may have been trained on from those that it was not."""
    points = store.labels.points()
    if snapshot is None:
        queued = store.queues.frames()
        return Knowledge(None, points, {at: points[at] for at in points.keys() & queued}, {})
    unknown = store.labels.points(after=snapshot)
    known = {at: points[at] for at in points.keys() - unknown.keys()}
    honest = store.labels.points(after=snapshot, held_out=True)
    return Knowledge(snapshot, known, unknown, honest)


def inputs_of(store: Store, embedder: EmbedderIdentity) -> dict[str, str]:
    """What each season's figures are computed from, as a short digest; no vector is read.

    As long as it stays the same, there is nothing new to assess. Other seasons' videos count
    by their doublings only: a single one moves a season's figures by next to nothing.
    """
    with store.pools.one_view():
        prints = store.seasons.fingerprints(embedder)
    return {
        season: hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]
        for season, parts in prints.items()
    }


def assess_seasons(
    store: Store,
    embedder: EmbedderIdentity,
    seasons: Iterable[str],
    *,
    before: Mapping[str, SeasonFigures],
    drift_alpha: float,
    sessions_of: SessionsOf | None = None,
    seed: int = 0,
) -> dict[str, SeasonFigures]:
    """The figures of seasons, all as the store is at one moment.

    Parameters
    ----------
    store : Store
    embedder : EmbedderIdentity
        By whose vectors coverage, drift and novelty are judged.
    seasons : iterable of str
        Those of which no video is ingested are left out of the answer.
    before : mapping of str to SeasonFigures
        What each season was last found to be like: its looks for drift go on from there.
    drift_alpha : float
        Probability that a season like the others is ever taken for another kind.
    sessions_of : callable, optional
        The name of each video's session, by video id; videos of one session count as one where
        drift is looked for, as they resemble each other. Without it, each video is one.
    seed : int
        The same store, earlier figures and seed give the same figures.
    """
    with store.pools.one_view():
        archive = _Archive(store, embedder, drift_alpha, sessions_of, seed)
        known = [season for season in seasons if season in archive.counts]
        return {season: archive.figures(season, before.get(season)) for season in known}


class _Archive:
    """What all seasons' figures share, read once."""

    def __init__(
        self,
        store: Store,
        embedder: EmbedderIdentity,
        drift_alpha: float,
        sessions_of: SessionsOf | None,
        seed: int,
    ) -> None:
        self.store, self.embedder = store, embedder
        self.drift_alpha, self.seed = drift_alpha, seed
        self.counts = {counts.season: counts for counts in store.pools.season_counts()}
        self.videos = store.pools.season_videos(embedder)
        ids = [video.id for video in self.videos]
        self.sessions = sessions_of(ids) if sessions_of else {}
        self.seasons = store.videos.seasons()
        self.knowledge = knowledge_of(store, store.snapshots.current().snapshot)
        self.noticed_at = store.labels.noticed_at()
        labelled = labelled_vectors(store, embedder)
        self.coverage = season_coverages(store, embedder, self.videos, labelled)
        self.novelty = Novelty(store, embedder, self.videos, labelled)
        self.baseline_px = self._baseline_px()

    def figures(self, season: str, before: SeasonFigures | None) -> SeasonFigures:
        counts, snapshot = self.counts[season], self.knowledge.snapshot
        own = [video for video in self.videos if video.season == season]
        campaign = self._campaign(season, own)
        looks = look(
            self.store,
            self.embedder,
            season,
            campaign,
            Looks.of(before, campaign.name),
            alpha=self.drift_alpha,
            seed=self.seed,
        )
        return SeasonFigures(
            videos=counts.videos,
            frames=counts.frames,
            labelled=counts.labelled,
            queued=counts.queued,
            new_labels=sum(
                self.seasons.get(video) == season for video, _ in self.knowledge.unknown
            ),
            coverage=self.coverage.get(season, 1.0),
            snapshot=snapshot.sha256 if snapshot else None,
            uncertainty=season_uncertainty(self.store, snapshot, season) if snapshot else None,
            error_px=self._audited(season),
            baseline_px=self.baseline_px,
            drift=looks.drift,
            campaign=campaign.name,
            looks=looks.looks,
            drift_looks=looks.drift_looks,
            novel_videos=self.novelty.strangest(own),
        )

    def _campaign(self, season: str, own: list[SeasonVideo]) -> Campaign:
        """Taught are the seasons that the current snapshot knows labels of."""
        taught_at = self._taught_at()
        until = taught_at.get(season)
        old = [v for v in self.videos if v.season in taught_at and v.season != season]
        seen = [v for v in own if until is not None and v.discovered_at <= until]
        seen_ids = {video.id for video in seen}
        snapshot = self.knowledge.snapshot
        return Campaign(
            campaign_name(snapshot, self.embedder, [*taught_at]),
            snapshot,
            reference=self._recordings([*old, *seen]),
            new=self._recordings([video for video in own if video.id not in seen_ids]),
        )

    def _recordings(self, videos: Iterable[SeasonVideo]) -> tuple[Recording, ...]:
        """The videos by their sessions, in the order of the first video of each."""
        found: dict[tuple[str, str | int], list[SeasonVideo]] = {}
        for video in videos:
            session = self.sessions.get(video.id) or video.id
            found.setdefault((video.season, session), []).append(video)
        return tuple(map(tuple, found.values()))

    def _taught_at(self) -> dict[str, datetime]:
        """Of every taught season, when the last of its known labels was noticed."""
        latest: dict[str, datetime] = {}
        for video, frame in self.knowledge.known:
            season, at = self.seasons.get(video), self.noticed_at[video, frame]
            if season is not None:
                latest[season] = max(latest.get(season, at), at)
        return latest

    def _audited(self, season: str) -> Interval | None:
        """The current snapshot's error on frames drawn at random that it was not trained on."""
        snapshot, known = self.knowledge.snapshot, self.knowledge.honest
        if snapshot is None:
            return None
        honest = known.keys() & set(self.store.queues.audit_frames(season))
        rng = np.random.default_rng([self.seed, len(honest)])
        return interval_of(
            frame_errors(self.store, snapshot, {at: known[at] for at in honest}), rng
        )

    def _baseline_px(self) -> float | None:
        snapshot = self.knowledge.snapshot
        if snapshot is None:
            return None
        known = interval_of(
            frame_errors(self.store, snapshot, self.knowledge.known),
            np.random.default_rng(self.seed),
        )
        return known.mean if known else None


def frame_errors(
    store: Store, snapshot: Snapshot, labels: Mapping[Frame, tuple[LabelledPoint, ...]]
) -> dict[Frame, float]:
    """A snapshot's mean error in pixels on each labelled frame that it has scored."""
    found = errors_on(store, snapshot, labels)
    return {
        at: float(np.nanmean(error_px))
        for at, error_px in sorted(found.items())
        if np.isfinite(error_px).any()
    }


def interval_of(errors_px: Mapping[Frame, float], rng: np.random.Generator) -> Interval | None:
    """The mean over videos of frames' errors, with its interval; None where there are none."""
    if not errors_px:
        return None
    values = np.array(list(errors_px.values()))
    videos = np.array([video for video, _ in errors_px], np.int64)
    found: VideoMean = mean_over_videos(values, videos, rng, level=INTERVAL_LEVEL)
    # An error is never below 0, whatever one video alone leaves open.
    return Interval(found.mean, max(found.low, 0.0), found.high, len(values), found.n_videos)
