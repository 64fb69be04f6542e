"""The clock that ticks once per round of a season: pool -> select -> queue -> export -> labels.

This file alone knows the order of these steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alwatch.errors import ExportError, NothingToDoError, SettingsError, shown
from alwatch.policy import next_arm
from alwatch.protocols import LabellingTool, OpenVideo
from alwatch.records import EmbedderIdentity, Exported, Queue, QueuedVideo
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
        snapshot = store.scores.current().snapshot
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
    picks = select(
        pool, strategy=strategy, budget=budget, limits=limits, rng=np.random.default_rng(seed)
    )
    if len(picks.rows) == 0:
        raise NothingToDoError(
            f"Season {season!r} has nothing left to queue: all of its {len(frames.video_ids)} "
            f"frames are labelled, queued, or too like one that is."
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
    now : datetime

    Raises
    ------
    ExportError
        The project cannot take the queue; nothing of it was changed.
    VideoError, DecoderDiedError
        A video of the queue cannot be read any more.
    """

    def read_frames(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
        with open_video(video.path) as reader:
            wanted = np.array([frame.frame for frame in video.frames], np.int64)
            for frame in reader.read(wanted):
                yield frame.index, frame.image

    videos = [_at_unchanged_file(store, video) for video in store.queues.by_video(queue)]
    exported = tool.write_queue(queue, videos, read_frames)
    ids = {video.content_hash: video.frames[0].video_id for video in videos}
    folders = [(folder, ids[content]) for folder, content in exported.folders]
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

    `unknown` counts labelled frames of videos that are not in the archive; `problem` says why
    the project could not be read.
    """

    to: str
    project: Path
    labelled: int = 0
    new: int = 0
    gone: int = 0
    unknown: int = 0
    problem: str | None = None


def sync_labels(
    store: Store, *, to: str, project: Path, tool: LabellingTool, now: datetime
) -> LabelSync:
    """Read which frames of a project are labelled; labelled frames leave the pool.

    A folder belongs to the video that alwatch exported there or whose labels it gave before, else
    to the one video of the archive whose file name it bears.

    Raises
    ------
    ExportError
        The project cannot be read.
    """
    folders = store.videos.by_stem() | store.queues.export_folders(to, project)
    labels = tool.read_labels()
    known = [(folders[label.folder], label) for label in labels if label.folder in folders]
    new, gone = store.queues.set_labels(to, project, known, now)
    return LabelSync(to, project, len(known), new, gone, len(labels) - len(known))


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
