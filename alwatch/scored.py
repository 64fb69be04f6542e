"""What the scores say, for reports: uncertain frames, a season by snapshot, the true error.

Callers hold one view of the store (`Pools.one_view`): a daemon may write meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from alwatch.errors import NothingToDoError
from alwatch.records import EmbedderIdentity, FrameScores, LabelledPoint, Queue, Snapshot
from alwatch.scores.aggregation import (
    SIGNALS,
    aggregate,
    doubts_per_bodypart,
    frame_scores,
    trust,
)
from alwatch.scores.influence import influence
from alwatch.scores.pose_novelty import PoseNovelty
from alwatch.scores.pose_signals import pose_error, with_scene_apart
from alwatch.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import FloatArray, IntArray


Labelled = Mapping[tuple[int, int], tuple[LabelledPoint, ...]]
"""Points by (video id, frame index)."""


@dataclass(frozen=True, slots=True)
class ScoredFrame:
    """One frame with its score; the bodypart that has most part in it, if one has."""

    video_id: int
    frame: int
    score: float
    bodypart: str | None
    presence: float


@dataclass(frozen=True, slots=True)
class SnapshotOnSeason:
    """How one snapshot does on one season.

    `uncertainty` is the mean over frames; `error_px` the mean distance between the model's and
    people's points, over `labelled_frames` frames; None where there are none.
    """

    snapshot: Snapshot
    season: str
    frames: int
    uncertainty: float
    error_px: float | None
    labelled_frames: int


class Ranking(Sequence[ScoredFrame]):
    """Frames by a score, the highest first; ties in the order in which they were given.

    Of a million frames a person looks at twenty, so each is made only when it is asked for.

    Parameters
    ----------
    video_ids, frames : int64 arrays of shape (n,)
    scores : float array of shape (n,)
    bodyparts : int64 array of shape (n,)
        The number of the bodypart that has most part in a score; -1 where none has.
    presence : float array of shape (n,)
    names : tuple of str
        The bodyparts.
    """

    def __init__(
        self,
        video_ids: IntArray,
        frames: IntArray,
        scores: NDArray[np.floating],
        bodyparts: IntArray,
        presence: NDArray[np.floating],
        names: tuple[str, ...],
    ) -> None:
        order = np.argsort(-scores, kind="stable")
        columns = (video_ids, frames, scores, bodyparts, presence)
        self._columns = [column[order] for column in columns]
        self._names = names

    def __len__(self) -> int:
        return len(self._columns[0])

    @overload
    def __getitem__(self, row: int) -> ScoredFrame: ...

    @overload
    def __getitem__(self, row: slice) -> list[ScoredFrame]: ...

    def __getitem__(self, row: int | slice) -> ScoredFrame | list[ScoredFrame]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        video_id, frame, score, bodypart, presence = (column[row] for column in self._columns)
        name = self._names[bodypart] if bodypart >= 0 else None
        return ScoredFrame(int(video_id), int(frame), float(score), name, float(presence))


def ranked_frames(
    store: Store, snapshot: Snapshot, *, by: str, season: str | None = None
) -> Ranking:
    """Every scored frame whose video is there, the most uncertain first.

    Parameters
    ----------
    store : Store
    snapshot : Snapshot
    by : str
        One of `SIGNALS`.
    season : str, optional
        Only this season.
    """
    parts = []
    for video_id, scores in _videos(store, snapshot, (by, "absent", "presence"), season):
        if by not in scores.signals:
            continue
        per_bodypart = doubts_per_bodypart(scores.signals, by)
        values = per_bodypart if per_bodypart.ndim == 1 else aggregate(per_bodypart)
        rows = np.flatnonzero(np.isfinite(values))
        parts.append(
            (
                np.full(len(rows), video_id),
                scores.frame_indices[rows],
                values[rows],
                _most_uncertain(per_bodypart[rows]),
                scores.signals["presence"][rows],
            )
        )
    return _ranking(parts, snapshot.bodyparts)


def novel_frames(store: Store, snapshot: Snapshot, *, season: str | None = None) -> Ranking:
    """Scored frames by how unlike the labelled poses theirs are, the most novel first.

    The score is the surprise of the most novel animal: 1 is usual. Frames that show too few
    bodyparts surely are left out, and so are labelled ones.

    Raises
    ------
    NothingToDoError
        Too few labels, or bodyparts, to say what is usual.
    """
    labels = store.labels.points()
    n_animals_parts = len(snapshot.bodyparts) - snapshot.n_unique
    if n_animals_parts < 3:
        raise NothingToDoError(
            "Frames were to be ranked by novelty, which compares distances between the bodyparts "
            f"of an animal and needs 3 of them; {snapshot.name} has {n_animals_parts}. Rank by "
            "another signal (--by)."
        )
    try:
        usual = _fitted_poses(labels, snapshot)
    except ValueError as error:
        raise NothingToDoError(str(error)) from None
    parts = []
    for video_id, scores in _videos(store, snapshot, ("pose", "presence"), season):
        of_frame = _surprise(usual, scores, snapshot)
        labelled = [frame for video, frame in labels if video == video_id]
        is_new = np.isfinite(of_frame) & ~np.isin(scores.frame_indices, labelled)
        rows = np.flatnonzero(is_new)
        parts.append(
            (
                np.full(len(rows), video_id),
                scores.frame_indices[rows],
                of_frame[rows],
                np.full(len(rows), -1),
                scores.signals["presence"][rows],
            )
        )
    return _ranking(parts, snapshot.bodyparts)


def influential_frames(
    store: Store, embedder: EmbedderIdentity, *, season: str | None = None
) -> Ranking:
    """Frames by how much they resemble all others, the most influential first."""
    frames = store.pools.season_frames(embedder, season)
    n = len(frames.frame_indices)
    values = influence(frames.vectors)
    no_bodypart, present = np.full(n, -1), np.ones(n)
    return Ranking(frames.video_ids, frames.frame_indices, values, no_bodypart, present, ())


def pool_scores(
    store: Store, snapshot: Snapshot, video_ids: IntArray, frame_indices: IntArray
) -> dict[str, FloatArray]:
    """What a snapshot says of some frames, for a strategy to choose by.

    Parameters
    ----------
    store : Store
    snapshot : Snapshot
    video_ids, frame_indices : int64 arrays of shape (n,)
        The frames of a video lie together, in increasing order.

    Returns
    -------
    dict of str to float32 array of shape (n,)
        As `frame_scores`, and `novelty` where there are labels enough to tell; NaN where a frame
        has not been scored.
    """
    wanted = (*SIGNALS, "absent", "presence", "pose")
    usual = _usual_poses(store, snapshot)
    found: dict[str, FloatArray] = {}
    for video_id in np.unique(video_ids).tolist():
        scores = store.scores.of_video(video_id, snapshot, wanted)
        if scores is None:
            continue
        signals = frame_scores(scores.signals)
        if usual is not None:
            signals["novelty"] = _surprise(usual, scores, snapshot)
        rows = np.flatnonzero(video_ids == video_id)
        place = np.searchsorted(scores.frame_indices, frame_indices[rows])
        place = place.clip(max=len(scores.frame_indices) - 1)
        is_scored = scores.frame_indices[place] == frame_indices[rows]
        for name, values in signals.items():
            into = found.setdefault(name, np.full(len(video_ids), np.nan, np.float32))
            into[rows[is_scored]] = values[place[is_scored]]
    return found


def proved_trust(store: Store, snapshot: Snapshot) -> float:
    """How far a snapshot's doubt has proved to know its error, from 0 to 0.7.

    The rank correlation of 1 - confidence with the true error, over frames whose labels came
    after the snapshot, so that it has not been trained on them; shrunk where these are few.
    """
    found = doubts_and_errors(store, snapshot, store.labels.points(after=snapshot)).values()
    doubt, error_px = np.array(list(found)).reshape(-1, 2).T
    return trust(doubt, error_px)


def doubts_and_errors(
    store: Store,
    snapshot: Snapshot,
    labels: Mapping[tuple[int, int], tuple[LabelledPoint, ...]],
) -> dict[tuple[int, int], tuple[float, float]]:
    """How unsure a snapshot is on labelled frames (1 - confidence), and how wrong in pixels.

    Of the frames that `errors_on` tells of.
    """
    found = {}
    for video_id, of_video in _by_video(labels).items():
        scores = store.scores.of_video(video_id, snapshot, ["confidence", "pose"])
        if scores is None:
            continue
        unsure = frame_scores(scores.signals)["confidence"]
        for row, error_px in _errors_px(scores, of_video, snapshot):
            frame = int(scores.frame_indices[row])
            found[video_id, frame] = float(unsure[row]), float(error_px.mean())
    return found


def audited_errors(store: Store, queue: Queue) -> dict[tuple[int, int], float]:
    """How wrong the snapshot that a queue was made under is on the queue's audit frames.

    These were drawn at random before anything was labelled there, so that their mean is a fair
    measure of that snapshot on what the season had left unlabelled.

    Parameters
    ----------
    store : Store
    queue : Queue

    Returns
    -------
    dict of (video id, frame index) to float
        Mean distance in pixels between the snapshot's and people's points; without frames that
        are not labelled yet, that the snapshot has not scored, or that have no point in common.
        Empty where the queue had no audit, or was made without a pose model.
    """
    made_under = queue.manifest.get("snapshot")
    snapshot = next((s for s in store.snapshots.scored() if s.sha256 == made_under), None)
    n_audit = queue.manifest.get("audit_frames", 0)  # queues of older versions do not know it
    audit = {(frame.video_id, frame.frame) for frame in queue.frames[:n_audit]}
    if snapshot is None or not audit:
        return {}
    labels = store.labels.points(after=snapshot)
    found = errors_on(store, snapshot, {at: labels[at] for at in audit & labels.keys()})
    return {at: float(np.nanmean(px)) for at, px in found.items() if np.isfinite(px).any()}


def errors_on(
    store: Store, snapshot: Snapshot, labels: Labelled
) -> dict[tuple[int, int], FloatArray]:
    """How wrong a snapshot is on labelled frames, whether or not it was trained on them.

    Parameters
    ----------
    store : Store
    snapshot : Snapshot
    labels : mapping of (video id, frame index) to people's points

    Returns
    -------
    dict of (video id, frame index) to float32 array of shape (bodyparts,)
        Distances in pixels, NaN where a bodypart is not labelled or not found, if only all of
        them; without frames that the snapshot has not scored.
    """
    errors_px = {}
    for video_id, of_video in _by_video(labels).items():
        scores = store.scores.of_video(video_id, snapshot, ["pose"])
        if scores is not None:
            for row, error_px in _errors_by_bodypart(scores, of_video, snapshot):
                errors_px[video_id, int(scores.frame_indices[row])] = error_px
    return errors_px


def season_uncertainty(store: Store, snapshot: Snapshot, season: str) -> float | None:
    """A snapshot's mean uncertainty over a season's scored frames; None where none is known."""
    parts = [np.empty(0, np.float32)]
    for video_id, of_season in store.scores.scored_videos(snapshot):
        if of_season == season:
            scores = store.scores.of_video(video_id, snapshot, ["uncertainty"])
            assert scores is not None
            parts.append(scores.signals["uncertainty"])
    values = np.concatenate(parts)
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def doubts(store: Store, frames: Iterable[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """What the current snapshot is least sure of in some frames, in words for a queue's reasons.

    Parameters
    ----------
    store : Store
    frames : iterable of (video id, frame index)
        Those that are not scored are left out of the answer.
    """
    snapshot = store.snapshots.current().snapshot
    if snapshot is None:
        return {}
    wanted: dict[int, list[int]] = {}
    for video_id, frame in frames:
        wanted.setdefault(video_id, []).append(frame)
    told = {}
    for video_id, indices in wanted.items():
        scores = store.scores.of_video(video_id, snapshot, ("mpe", "absent"))
        if scores is None:
            continue
        entropy = doubts_per_bodypart(scores.signals, "mpe")
        bodyparts = _most_uncertain(entropy)
        for row in np.flatnonzero(np.isin(scores.frame_indices, indices)).tolist():
            frame, number = int(scores.frame_indices[row]), int(bodyparts[row])
            if number >= 0:
                name, value = snapshot.bodyparts[number], entropy[row, number]
                told[video_id, frame] = f"unsure of {name} (MPE {value:.2f})"
            elif scores.signals["absent"][row].all():
                told[video_id, frame] = "no bodypart found"
    return told


def snapshots_on_seasons(store: Store) -> list[SnapshotOnSeason]:
    """How every snapshot does on every season that it has scored, snapshot by snapshot."""
    labels = _by_video(store.labels.points())
    results = []
    for snapshot in store.snapshots.scored():
        uncertainty: dict[str, list[FloatArray]] = {}
        errors: dict[str, list[FloatArray]] = {}
        for video_id, season in store.scores.scored_videos(snapshot):
            scores = store.scores.of_video(
                video_id, snapshot, ["uncertainty", *(["pose"] if video_id in labels else [])]
            )
            assert scores is not None
            uncertainty.setdefault(season, []).append(scores.signals["uncertainty"])
            if video_id in labels:
                errors.setdefault(season, []).extend(
                    error_px[np.isfinite(error_px)]
                    for _, error_px in _errors_px(scores, labels[video_id], snapshot)
                )
        for season, parts in uncertainty.items():
            values = np.concatenate(parts)
            on_labelled = errors.get(season, [])
            distances = np.concatenate(on_labelled) if on_labelled else np.empty(0, np.float32)
            results.append(
                SnapshotOnSeason(
                    snapshot,
                    season,
                    frames=len(values),
                    uncertainty=float(np.nanmean(values)) if np.isfinite(values).any() else 0.0,
                    error_px=float(distances.mean()) if len(distances) else None,
                    labelled_frames=len(on_labelled),
                )
            )
    return results


def truth_of(points: tuple[LabelledPoint, ...], bodyparts: tuple[str, ...]) -> FloatArray:
    """People's points as an array (individuals, bodyparts, 2), NaN where there is none.

    Points of the scene alone, which belong to no individual, are put to the first.
    """
    names = sorted({point.individual for point in points if point.individual}) or [""]
    truth = np.full((len(names), len(bodyparts), 2), np.nan, np.float32)
    for point in points:
        if point.bodypart in bodyparts:
            row = names.index(point.individual) if point.individual else 0
            truth[row, bodyparts.index(point.bodypart)] = point.x_px, point.y_px
    return truth


def _fitted_poses(labels: Labelled, snapshot: Snapshot) -> PoseNovelty:
    """What poses are usual among the labelled ones; ValueError where there are too few."""
    truths = [truth_of(points, snapshot.bodyparts) for points in labels.values()]
    animals = max((len(truth) for truth in truths), default=1)
    n_parts = len(snapshot.bodyparts) - snapshot.n_unique
    known = np.full((len(truths), animals, n_parts, 3), np.nan)
    for row, truth in enumerate(truths):
        known[row, : len(truth), :, :2] = truth[:, :n_parts]
    known[..., 2] = np.where(np.isfinite(known[..., 0]), 1.0, np.nan)
    return PoseNovelty.fit(known, np.array([video_id for video_id, _ in labels], np.int64))


def _usual_poses(store: Store, snapshot: Snapshot) -> PoseNovelty | None:
    try:
        return _fitted_poses(store.labels.points(), snapshot)
    except ValueError:
        return None


def _surprise(usual: PoseNovelty, scores: FrameScores, snapshot: Snapshot) -> FloatArray:
    """Of each frame's most novel animal, shape (n,)."""
    n_parts = len(snapshot.bodyparts) - snapshot.n_unique
    surprise = usual.score(scores.signals["pose"][:, :, :n_parts]).surprise
    of_frame: FloatArray = np.fmax.reduce(surprise, axis=1).astype(np.float32)
    return of_frame


def _videos(
    store: Store, snapshot: Snapshot, signals: tuple[str, ...], season: str | None
) -> Iterator[tuple[int, FrameScores]]:
    for video_id, video_season in store.scores.scored_videos(snapshot, here=True):
        if season is None or season == video_season:
            scores = store.scores.of_video(video_id, snapshot, signals)
            assert scores is not None
            yield video_id, scores


def _ranking(parts: Sequence[tuple[NDArray[Any], ...]], names: tuple[str, ...]) -> Ranking:
    if not parts:
        none = np.empty(0, np.int64)
        return Ranking(none, none, np.empty(0), none, np.empty(0), names)
    video_ids, frames, scores, bodyparts, presence = map(np.concatenate, zip(*parts, strict=True))
    return Ranking(video_ids, frames, scores, bodyparts, presence, names)


def _most_uncertain(values: FloatArray) -> IntArray:
    """The bodypart of the highest value in each row (n, k); -1 where none is above 0."""
    if values.ndim == 1:
        return np.full(len(values), -1)
    known = np.where(np.isfinite(values), values, np.float32(-np.inf))
    return np.where(known.max(axis=1, initial=-np.inf) > 0, known.argmax(axis=1), -1)


def _by_video(labels: Labelled) -> dict[int, dict[int, tuple[LabelledPoint, ...]]]:
    """Labels by video id, then by frame index."""
    of_videos: dict[int, dict[int, tuple[LabelledPoint, ...]]] = {}
    for (video_id, frame), points in labels.items():
        of_videos.setdefault(video_id, {})[frame] = points
    return of_videos


def _errors_px(
    scores: FrameScores,
    labels: Mapping[int, tuple[LabelledPoint, ...]],
    snapshot: Snapshot,
) -> Iterator[tuple[int, FloatArray]]:
    """Row and distances of each labelled frame, frames without a common point left out."""
    for row, error in _errors_by_bodypart(scores, labels, snapshot):
        if np.isfinite(error).any():
            yield row, error[np.isfinite(error)]


def _errors_by_bodypart(
    scores: FrameScores,
    labels: Mapping[int, tuple[LabelledPoint, ...]],
    snapshot: Snapshot,
) -> Iterator[tuple[int, FloatArray]]:
    """Row and distances (k,) of each labelled frame, NaN where a point is not in both."""
    for row, frame in enumerate(scores.frame_indices.tolist()):
        if frame in labels:
            truth = truth_of(labels[frame], snapshot.bodyparts)
            pose = scores.signals["pose"][row : row + 1]
            errors = with_scene_apart(pose_error, pose, truth[None], n_unique=snapshot.n_unique)
            yield row, errors[0]
