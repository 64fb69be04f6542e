"""A queue within a project of SLEAP: suggestions, and predicted instances for people to correct."""

from __future__ import annotations

from hashlib import sha256
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
import sleap_io

from alwatch.errors import ExportError, shown
from alwatch.labelling.prelabels import LIKELIHOOD_MIN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from alwatch.labelling.sleap_record import RecordedFrame
    from alwatch.records import FloatArray, QueuedVideo, Skeleton


def skeleton_of(labels: sleap_io.Labels, skeleton: Skeleton) -> sleap_io.Skeleton | None:
    """The project's skeleton; where it has none, a new one without edges, if there is any."""
    known = next((each for each in labels.skeletons if each.nodes), None)
    if known is None and skeleton.bodyparts:
        known = sleap_io.Skeleton(nodes=list(skeleton.bodyparts), name="Skeleton-0")
        labels.skeletons = [*(labels.skeletons if labels.labeled_frames else []), known]
    return known


def add_frames(
    labels: sleap_io.Labels,
    placed: Iterable[tuple[QueuedVideo, sleap_io.Video, Collection[int]]],
    group: int,
    skeleton: sleap_io.Skeleton | None,
    bodyparts: Sequence[str],
) -> dict[tuple[str, int], str]:
    """Suggest frames in the order of their ranks, with poses where the project has nothing yet.

    Parameters
    ----------
    labels : Labels
    placed : iterable of (QueuedVideo, Video, collection of int)
        A queued video, the same in the project, and which of its frames to add.
    group : int
        The group that the suggestions are of.
    skeleton : Skeleton or None
    bodyparts : sequence of str
        Of the poses.

    Returns
    -------
    dict of (content hash, frame index) to str
        A digest of the predicted instances of each frame that has got some.
    """
    there = {(id(frame.video), frame.frame_idx) for frame in labels.labeled_frames}
    ranked = [
        (frame.rank, frame.frame, video, target)
        for video, target, indices in placed
        for frame in video.frames
        if frame.frame in indices
    ]
    digests = {}
    for _, index, video, target in sorted(ranked, key=itemgetter(0)):
        labels.suggestions.append(sleap_io.SuggestionFrame(target, index, {"group": group}))
        pose = video.poses.get(index)
        if pose is None or skeleton is None or (id(target), index) in there:
            continue
        instances = list(_instances(pose, skeleton, bodyparts))
        if instances:
            labels.append(sleap_io.LabeledFrame(target, index, instances), update=False)
            digests[video.content_hash, index] = digest_of(instances)
    return digests


def remove_frames(
    labels: sleap_io.Labels,
    frames: Sequence[RecordedFrame],
    targets: Mapping[str, sleap_io.Video | None],
    group: int,
) -> int:
    """Take a queue's suggestions and untouched poses out of a project; how many suggestions.

    Raises
    ------
    ExportError
        A person has labelled one of the frames.
    """
    keys = {(id(targets[frame.content_hash]), frame.frame): frame for frame in frames}
    drawn = {
        (id(frame.video), frame.frame_idx): frame
        for frame in labels.labeled_frames
        if (id(frame.video), frame.frame_idx) in keys
    }
    for frame in drawn.values():
        if frame.user_instances or frame.is_negative:
            raise ExportError(
                f"Queue {group} was to be withdrawn, but frame {frame.frame_idx} of "
                f"{shown(frame.video.filename)} is labelled, so it stays. Withdraw queues before "
                "anybody works on them."
            )
    own = {
        id(frame)
        for key, frame in drawn.items()
        if keys[key].pose is not None and keys[key].pose == digest_of(frame.instances)
    }
    labels.labeled_frames = [frame for frame in labels.labeled_frames if id(frame) not in own]
    before = len(labels.suggestions)
    labels.suggestions = [
        each
        for each in labels.suggestions
        if each.metadata.get("group") != group
        or (id(each.video), each.frame_idx) not in keys
        or not keys[id(each.video), each.frame_idx].is_suggested
    ]
    return before - len(labels.suggestions)


def digest_of(instances: Sequence[sleap_io.Instance]) -> str:
    """What tells poses that are as they were exported from others."""
    digest = sha256()
    for instance in instances:
        digest.update(type(instance).__name__.encode())
        digest.update(np.ascontiguousarray(instance.numpy(), "<f8").tobytes())
    return digest.hexdigest()


def _instances(
    pose: FloatArray, skeleton: sleap_io.Skeleton, bodyparts: Sequence[str]
) -> Iterator[sleap_io.PredictedInstance]:
    """Predicted instances of the animals that are found; nodes that the model lacks stay empty."""
    columns = [bodyparts.index(name) if name in bodyparts else -1 for name in skeleton.node_names]
    known = np.array(columns) >= 0
    for animal in pose:
        points = np.full((len(columns), 3), np.nan)
        points[known] = animal[[column for column in columns if column >= 0]]
        is_found = np.isfinite(points).all(axis=1) & (points[:, 2] >= LIKELIHOOD_MIN)
        if is_found.any():
            yield sleap_io.PredictedInstance.from_numpy(
                np.where(is_found[:, None], points[:, :2], np.nan),
                skeleton,
                point_scores=np.where(is_found, points[:, 2], 0.0),
                score=float(points[is_found, 2].mean()),
            )
