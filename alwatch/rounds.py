"""The clock that ticks once per round of a season: pool -> select -> queue -> export -> labels.

This file alone knows the order of these steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alwatch.errors import AlwatchError, ExportError, NothingToDoError, SettingsError, shown
from alwatch.policy import next_arm
from alwatch.protocols import LabellingTool, OpenVideo
from alwatch.records import (
    EmbedderIdentity,
    Exported,
    LabelledFrame,
    Queue,
    QueuedVideo,
    Skeleton,
    Snapshot,
)
from alwatch.scored import doubts, pool_scores, proved_trust
from alwatch.store import Store
from alwatch.store.pools import PooledFrames
from alwatch.store.videos import StoredVideo
from alwatch.strategies.bandit import BANDIT, fault_of_bandit
from alwatch.strategies.pool import LEVELS, Limits, Pool
from alwatch.strategies.registry import fault_of, lacking_scores, select

if TYPE_CHECKING:
    from alwatch.records import FloatArray, ImageArray, IntArray


def make_queue(
    store: Store,
    *,
    season: str,
    embedder: EmbedderIdentity,
    strategy: str,
    bandit_arms: tuple[str, ...],
    budget: int,
    seed: int,
    limits: Limits,
    groups_of: Callable[[StoredVideo], tuple[str | None, str | None]],
    software: str,
    now: datetime,
) -> Queue:
    """Choose frames of a season for labelling and keep them as a queue.

    The same archive, labels, settings and seed give the same queue, and the manifest holds what
    is needed to tell: versions, settings, and a digest of everything that was chosen from.

    Parameters
    ----------
    store : Store
    season : str
    embedder : EmbedderIdentity
        Whose vectors to choose by.
    strategy : str
        A name of the strategy registry, or "bandit"; the queue then has the name of the strategy
        that was drawn, and its manifest says under `policy` from what.
    bandit_arms : tuple of str
        Among which strategies the bandit draws.
    budget : int
        Number of frames.
    seed : int
    limits : Limits
    groups_of : callable
        The names of a video's individual and session; None for one of its own.
    software : str
        Name and version, for the manifest.
    now : datetime

    Raises
    ------
    SettingsError
        There is no such strategy, or the bandit cannot work by these settings.
    NothingToDoError
        The season is unknown or has no frame left to choose.
    """
    fault = fault_of(strategy, beside=(BANDIT,))
    if strategy == BANDIT:
        fault = fault_of_bandit(bandit_arms, limits, budget)
    if fault is not None:
        raise SettingsError(f"queue.{fault}")
    with store.pools.one_view():
        frames = store.pools.season_frames(embedder, season)
        marked = store.pools.marked_frames(embedder)
        snapshot = store.snapshots.current().snapshot
        scores: dict[str, FloatArray] = {}
        trust = 0.0
        if snapshot is not None:
            scores = pool_scores(store, snapshot, frames.video_ids, frames.frame_indices)
            trust = proved_trust(store, snapshot)
    if len(frames.video_ids) == 0:
        known = [counts.season for counts in store.pools.season_counts()]
        raise NothingToDoError(
            f"Season {season!r} has no frames embedded with {embedder.name}; "
            + (f"seasons that exist: {', '.join(known)}." if known else "no video is ingested yet.")
        )
    ids = np.unique(np.concatenate([frames.video_ids, marked.video_ids])).tolist()
    videos = store.videos.by_id(ids)
    hashes = {video.id: video.content_hash for video in videos.values()}
    by_content = sorted(ids, key=hashes.__getitem__)
    policy = None
    if strategy == BANDIT:
        with store.pools.one_view():
            strategy, policy = next_arm(
                store, season=season, snapshot=snapshot, arms=bandit_arms, scores=scores, seed=seed
            )
    lacking = lacking_scores(strategy, scores)
    if lacking:
        raise NothingToDoError(
            f"queue.strategy is {strategy}, which chooses by {', '.join(lacking)}, but no frame of "
            f"season {season!r} has it (there is: {', '.join(sorted(scores)) or 'no score'}); set "
            "pose_model and let `alwatch score` work first, or choose another strategy."
        )
    pool = _pool(frames, marked, {video_id: n for n, video_id in enumerate(by_content)})
    pool = _grouped(pool, [groups_of(videos[video_id]) for video_id in by_content])
    pool = replace(pool, scores=scores, trust=trust)
    # Were the next queue's draws the same, its audit would go to the same few videos again.
    rng = np.random.default_rng([seed, len(pool.taken_video)])
    picks = select(pool, strategy=strategy, budget=budget, limits=limits, rng=rng)
    if len(picks.rows) == 0:
        raise NothingToDoError(
            f"Season {season!r} has nothing left to queue: all of its {len(frames.video_ids)} "
            f"frames are labelled, queued, too like one that is, or left out by the settings of "
            "queue (outlier_share, presence_min)."
        )

    def frame_of(row: int) -> tuple[int, int]:
        return by_content[pool.video[row]], int(pool.frame[row])

    chosen = [frame_of(row) for row in picks.rows.tolist()]
    with store.pools.one_view():
        doubted = doubts(store, chosen)
    return store.queues.add(
        season=season,
        strategy=strategy,
        seed=seed,
        budget=budget,
        picks=[
            (*frame, float(score), "; ".join([reason, *filter(None, [doubted.get(frame)])]))
            for frame, score, reason in zip(chosen, picks.scores, picks.reasons, strict=True)
        ],
        manifest={
            "software": software,
            "embedder": asdict(embedder),
            "snapshot": snapshot and snapshot.sha256,
            "trust": trust,
            "policy": policy,
            "audit_frames": picks.n_audit,
            "limits": asdict(limits),
            "pool_frames": len(pool.video),
            "taken_frames": len(pool.taken_video),
            "review": [
                (*frame_of(row), distance, reason) for row, distance, reason in picks.review
            ],
            "pool_digest": _digest(pool, [hashes[video_id] for video_id in by_content]),
        },
        now=now,
    )


def export_queue(
    store: Store,
    queue: Queue,
    *,
    to: str,
    project: Path,
    tool: LabellingTool,
    open_video: OpenVideo,
    names: Mapping[str, str],
    now: datetime,
) -> Exported:
    """Put a queue's frames where a labelling tool finds them, and remember where that is.

    Parameters
    ----------
    store : Store
    queue : Queue
    to, project
        Name of the tool, and the project as it was named; by these the export is remembered.
    tool : LabellingTool
        That tool, on that project.
    open_video : callable
    names : mapping of str to str
        What the project calls the bodyparts that it names otherwise, by their names in alwatch.
    now : datetime

    Raises
    ------
    ExportError
        The queue was withdrawn, or the project cannot take the queue; nothing of it was changed.
    VideoError, DecoderDiedError
        A video of the queue cannot be read any more.
    """

    def read_frames(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
        with open_video(video.path) as reader:
            wanted = np.array([frame.frame for frame in video.frames], np.int64)
            for frame in reader.read(wanted):
                yield frame.index, frame.image

    summary = next(each for each in store.queues.summaries() if each.id == queue.id)
    if summary.withdrawn_at is not None:
        raise ExportError(
            f"Queue {queue.id} was withdrawn on {summary.withdrawn_at:%Y-%m-%d}, so it is not "
            "exported again; make a new one."
        )
    videos = [_at_unchanged_file(store, video) for video in store.queues.by_video(queue)]
    skeleton, videos = _with_poses(store, videos, names)
    # Noted before: a withdrawal must also find what a run that dies has left there.
    store.queues.begin_export(queue, to, project)
    try:
        exported = tool.write_queue(queue, videos, read_frames, skeleton)
    except AlwatchError:
        store.queues.give_up_export(queue, to, project)
        raise
    ids = {video.content_hash: video.frames[0].video_id for video in videos}
    folders = [(shown(folder), ids[content]) for folder, content in exported.folders]
    store.queues.add_export(queue, to, project, exported.written, folders, now)
    return exported


def _at_unchanged_file(store: Store, video: QueuedVideo) -> QueuedVideo:
    """The video at a file that still holds the content that the frames were chosen from."""
    file = store.videos.file_of(video.frames[0].video_id)
    if file is not None and file.is_unchanged():
        return replace(video, path=file.path)
    raise ExportError(
        f"{len(video.frames)} frames of {shown(video.path)} were to be exported, but the file "
        "is not there or has changed since it was ingested; put it back, or let the next scan "
        "find it, and export again."
    )


@dataclass(frozen=True, slots=True)
class LabelSync:
    """What reading one project's labels has changed.

    `labelled` counts the frames that a person is done with, once for each person; `unknown` those
    of videos that are not in the archive; `problem` says why the project could not be read.
    """

    to: str
    project: Path
    labelled: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    unknown: int = 0
    problem: str | None = None

    def row(self) -> dict[str, Any]:
        """What a command prints of it."""
        return asdict(self) | {"project": str(self.project)}


def sync_labels(
    store: Store,
    *,
    to: str,
    project: Path,
    tool: LabellingTool,
    names: Mapping[str, str],
    now: datetime,
) -> LabelSync:
    """Read which frames of a project are labelled; labelled frames leave the pool.

    `names` are the project's names of bodyparts by alwatch's, as for `export_queue`.

    A folder belongs to the video that alwatch exported there or whose labels it gave before, else
    to the one video of the archive whose file name it bears.

    Raises
    ------
    ExportError
        The project cannot be read, or is not there any more though labels were read from it.
    """
    labels = _read_labels(store, tool, project, store.queues.export_folders(to, project), names)
    n_known = 0 if labels or _is_there(project) else store.labels.count(to, project)
    if n_known:
        raise ExportError(
            f"{n_known} labels were read from {shown(project)} before; it is not there now, or is "
            f"an empty folder, so they are kept. Mount its drive, or put it back. {_MOVED_OR_GONE}"
        )
    known = _of_archive(labels)
    changes = store.labels.set(to, project, known, now)
    unknown = len(labels) - len(known)
    return LabelSync(to, project, len(known), *changes, unknown=unknown)


def move_project(
    store: Store,
    *,
    to: str,
    old: Path,
    new: Path,
    tool: LabellingTool,
    names: Mapping[str, str],
    now: datetime,
) -> LabelSync:
    """Remember of a project at its new place what is remembered of it, and read it there.

    It is the same project if it holds all labels that were read before; where labels were read
    from the new place too, all must also be as they were.

    Parameters
    ----------
    store : Store
    to : str
    old, new : Path
        Where the project was and is, as it is named in exports.
    tool : LabellingTool
        That tool, on the new place.
    names : mapping of str to str
        As for `export_queue`.
    now : datetime

    Raises
    ------
    ExportError
        There is no project at the new place, or it cannot be read.
    NothingToDoError
        One is still at the old place, or the one at the new place is another.
    """
    asked = f"{shown(old)} was to be known as {shown(new)} from now on"
    if _is_there(old):
        raise NothingToDoError(
            f"{asked}; it is still there, so it is read there. Move it first; of a copy, export to "
            "it, or name it in exports."
        )
    folders = store.queues.export_folders(to, new) | store.queues.export_folders(to, old)
    labels = _read_labels(store, tool, new, folders, names)
    if not labels and not _is_there(new):
        raise ExportError(f"{asked}; nothing is there. Correct the path, or mount its drive.")
    changes = store.labels.changes(to, old, _of_archive(labels))
    if changes.gone or (changes.changed and store.labels.count(to, new)):
        gone = f"{changes.gone} of the {store.labels.count(to, old)} labels that were read before"
        found = f"holds {changes.changed} of its labels otherwise, and was known before"
        raise NothingToDoError(
            f"{asked}, which {f'lacks {gone}' if changes.gone else found}: it may be another "
            "project, so nothing was changed. If it is the same one, forget the old place "
            "(`alwatch labels forget`), and export its queues to the new one."
        )
    store.projects.move(to, old, new)
    return sync_labels(store, to=to, project=new, tool=tool, names=names, now=now)


def withdraw_queue(
    store: Store,
    queue: Queue,
    *,
    projects: Sequence[tuple[Path, LabellingTool]],
    now: datetime,
) -> int:
    """Take a queue back out of its projects; its frames return to the pool.

    The projects come first: a run that dies is completed by the next one. The labels must have
    been read just before.

    Parameters
    ----------
    store : Store
    queue : Queue
    projects : sequence of (Path, LabellingTool)
        That it was exported to.
    now : datetime

    Returns
    -------
    int
        How many images were taken away.

    Raises
    ------
    NothingToDoError
        A frame of it is labelled, or was passed over.
    ExportError
        A project cannot be written.
    """
    summary = next(each for each in store.queues.summaries() if each.id == queue.id)
    if summary.labelled or summary.skipped:
        raise NothingToDoError(
            f"Queue {queue.id} was to be withdrawn; {summary.labelled} of its {summary.frames} "
            f"frames are labelled and {summary.skipped} were passed over, so it stays. Withdraw "
            "queues before anybody works on them."
        )
    videos = store.queues.by_video(queue)
    removed = 0
    for project, tool in projects:
        with _remedy(store, project):
            removed += tool.withdraw_queue(queue, videos)
    store.queues.withdraw(queue, now)
    return removed


def _is_there(project: Path) -> bool:
    """Whether there is something where the project is, and no empty folder to mount a drive at."""
    return any(project.iterdir()) if project.is_dir() else project.exists()


def _read_labels(
    store: Store,
    tool: LabellingTool,
    project: Path,
    folders: Mapping[str, int],
    names: Mapping[str, str],
) -> list[tuple[int | None, LabelledFrame]]:
    """A project's labels, each with its video, if the archive has that; see `sync_labels`."""
    with _remedy(store, project):
        found = tool.read_labels()
    ids = {shown(stem): video_id for stem, video_id in store.videos.by_stem().items()}
    ids |= folders
    ours = {theirs: name for name, theirs in names.items()}
    labels = [
        replace(label, folder=shown(label.folder), labeller=shown(label.labeller))
        for label in found
    ]
    return [(ids.get(label.folder), _renamed(label, ours)) for label in labels]


def _of_archive(
    labels: Sequence[tuple[int | None, LabelledFrame]],
) -> list[tuple[int, LabelledFrame]]:
    return [(video_id, label) for video_id, label in labels if video_id is not None]


@contextmanager
def _remedy(store: Store, project: Path) -> Iterator[None]:
    """Of a known project that is not there, say also what to do if it will not be again."""
    try:
        yield
    except ExportError as error:
        is_known = any(path == project for _, path in store.projects.known())
        if _is_there(project) or not is_known:
            raise
        raise ExportError(f"{error} {_MOVED_OR_GONE}") from error


_MOVED_OR_GONE = (
    "If it was moved: `alwatch labels move OLD NEW`; if it is gone for good: "
    "`alwatch labels forget PROJECT`."
)


def _renamed(label: LabelledFrame, names: Mapping[str, str]) -> LabelledFrame:
    points = tuple(replace(p, bodypart=names.get(p.bodypart, p.bodypart)) for p in label.points)
    return replace(label, points=points)


def _with_poses(
    store: Store, videos: Sequence[QueuedVideo], names: Mapping[str, str]
) -> tuple[Skeleton, list[QueuedVideo]]:
    """What is to be labelled, and what the current snapshot finds in the queued frames.

    Without a snapshot it is the bodyparts that people have labelled so far.
    """
    snapshot = store.snapshots.current().snapshot
    if snapshot is None:
        points = [point for of_frame in store.labels.points().values() for point in of_frame]
        bodyparts = tuple(dict.fromkeys(point.bodypart for point in points))
        individuals = {point.individual for point in points if point.individual}
        skeleton = Skeleton(bodyparts, max(len(individuals), 1))
    else:
        skeleton = Skeleton(
            snapshot.bodyparts, snapshot.n_individuals, snapshot.n_unique, snapshot.name
        )
        videos = [replace(video, poses=_poses(store, snapshot, video)) for video in videos]
    theirs = tuple(names.get(name, name) for name in skeleton.bodyparts)
    return replace(skeleton, bodyparts=theirs), list(videos)


def _poses(store: Store, snapshot: Snapshot, video: QueuedVideo) -> dict[int, FloatArray]:
    scores = store.scores.of_video(video.frames[0].video_id, snapshot, ("pose",))
    if scores is None or "pose" not in scores.signals:
        return {}
    rows = np.flatnonzero(np.isin(scores.frame_indices, [frame.frame for frame in video.frames]))
    return {int(scores.frame_indices[row]): scores.signals["pose"][row] for row in rows}


def _pool(frames: PooledFrames, marked: PooledFrames, number: dict[int, int]) -> Pool:
    """The pool with videos numbered in the order of their content, not of their arrival."""

    def numbers(video_ids: IntArray) -> IntArray:
        return np.array([number[video_id] for video_id in video_ids.tolist()], np.int64)

    taken = marked.labelled | marked.queued
    return Pool(
        vectors=frames.vectors,
        video=numbers(frames.video_ids),
        frame=frames.frame_indices,
        time_s=frames.times_s,
        taken_vectors=marked.vectors[taken],
        taken_video=numbers(marked.video_ids[taken]),
        taken_frame=marked.frame_indices[taken],
        taken_time_s=marked.times_s[taken],
    )


def _grouped(pool: Pool, names: Sequence[tuple[str | None, str | None]]) -> Pool:
    """The pool with the individual and the session of each video, named in order of its number."""
    individual, session = (_group_numbers(of_video) for of_video in zip(*names, strict=True))
    return replace(
        pool,
        individual=individual[pool.video],
        session=session[pool.video],
        taken_individual=individual[pool.taken_video],
        taken_session=session[pool.taken_video],
    )


def _group_numbers(names: Sequence[str | None]) -> IntArray:
    """A group's number is that of its first video; a video without a name keeps its own."""
    first: dict[str, int] = {}
    numbers = [n if name is None else first.setdefault(name, n) for n, name in enumerate(names)]
    return np.array(numbers, np.int64)


def _digest(pool: Pool, hashes: list[str]) -> str:
    """A sha256 of everything the choice was made from, equal on every machine."""
    digest = hashlib.sha256()
    for videos, frame_indices, vectors in (
        (pool.video, pool.frame, pool.vectors),
        (pool.taken_video, pool.taken_frame, pool.taken_vectors),
    ):
        for video in np.unique(videos).tolist():
            digest.update(hashes[video].encode())
            digest.update(np.ascontiguousarray(frame_indices[videos == video]).tobytes())
        digest.update(np.ascontiguousarray(vectors).tobytes())
    for level in LEVELS[1:]:
        for groups in pool.groups(level):
            digest.update(np.ascontiguousarray(groups, "<i8").tobytes())
    for name in sorted(pool.scores):
        digest.update(name.encode() + np.ascontiguousarray(pool.scores[name], "<f4").tobytes())
    return digest.hexdigest()
