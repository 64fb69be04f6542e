"""Looks at whether a season's new videos are of another kind than those that the model knows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from alwatch.records import EmbedderIdentity, Snapshot
from alwatch.scores.drift import Drift as Tested
from alwatch.scores.drift import video_permutation_mmd
from alwatch.scores.drift_schedule import alpha_of_look, look_is_due
from alwatch.scores.moments import MOMENTS
from alwatch.seasons.figures import Drift, SeasonFigures
from alwatch.seasons.vectors import JoinedRows, VideoRows
from alwatch.store import Store
from alwatch.store.pools import SeasonVideo

if TYPE_CHECKING:
    from alwatch.records import FloatArray

_DRIVING = 10

Recording = tuple[SeasonVideo, ...]
"""What was recorded in one go: a session's videos, which are no better than one. Or one video."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """What a season's new videos are compared with, and by what.

    Parameters
    ----------
    name : str
        The same as long as the snapshot, the embedder and the seasons compared with are.
    snapshot : Snapshot or None
    reference, new : tuples of Recording
    """

    name: str
    snapshot: Snapshot | None
    reference: tuple[Recording, ...]
    new: tuple[Recording, ...]


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks of a campaign so far: how many, what the last one found, how often in a row."""

    drift: tuple[Drift, ...] = ()
    looks: int = 0
    drift_looks: int = 0

    @classmethod
    def of(cls, before: SeasonFigures | None, campaign: str) -> Looks:
        """Those that figures tell of; none where they are of another campaign."""
        if before is None or before.campaign != campaign:
            return cls()
        return cls(before.drift, before.looks, before.drift_looks)


def campaign_name(
    snapshot: Snapshot | None, embedder: EmbedderIdentity, seasons: Sequence[str]
) -> str:
    """A digest of what new videos are compared by, and with which seasons."""
    model = (snapshot.kind, snapshot.sha256) if snapshot else None
    text = repr((model, embedder.name, embedder.weights, embedder.dim, sorted(seasons)))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def look(
    store: Store,
    embedder: EmbedderIdentity,
    season: str,
    campaign: Campaign,
    before: Looks,
    *,
    alpha: float,
    seed: int,
) -> Looks:
    """Look at a season if a look is due; else what the last look found stands.

    One is due whenever its new videos have doubled in number and can tell (see
    `scores.drift_schedule`), and the snapshot has scored what it is going to. The vectors and the
    snapshot's uncertainty are tested, each at half of the look's alpha.

    Parameters
    ----------
    store : Store
    embedder : EmbedderIdentity
    season : str
    campaign : Campaign
    before : Looks
        Those of this campaign so far.
    alpha : float
        Probability of a false alarm over the whole campaign.
    seed : int
        The same seed, season, campaign and videos give the same result.
    """
    snapshot, old, new = campaign.snapshot, campaign.reference, campaign.new
    each = alpha if snapshot is None else alpha / 2
    n_at_last = before.drift[0].new if before.drift else 0
    if not look_is_due(len(old), len(new), looks=before.looks, n_at_last=n_at_last, alpha=each):
        return before
    if snapshot is not None and _awaits_scores(store, snapshot, [*chain(*old, *new)]):
        return before
    number = before.looks + 1
    rng = np.random.default_rng(_seed(season, campaign.name, number, seed))
    alpha_now = alpha_of_look(number, each)
    vectors = [_joined(side, partial(_vectors, store, embedder)) for side in (old, new)]
    found = [_drift("embeddings", vectors[0], vectors[1], campaign, alpha_now, rng)]
    if snapshot is not None:
        doubt_of = partial(_uncertainty, store, snapshot)
        doubt = [_joined(side, doubt_of) for side in (old, new)]
        found.append(_drift("uncertainty", doubt[0], doubt[1], campaign, alpha_now, rng))
    drift = tuple(each for each in found if each is not None)
    in_a_row = before.drift_looks + 1 if any(each.is_found for each in drift) else 0
    return Looks(drift, number, in_a_row)


def _joined(
    side: Sequence[Recording], rows_of: Callable[[Sequence[int]], Sequence[FloatArray]]
) -> JoinedRows:
    """The rows of each recording, its videos one after the other."""
    ids = [video.id for recording in side for video in recording]
    ends = np.cumsum([len(recording) for recording in side]).tolist()
    groups = [range(end - len(one), end) for one, end in zip(side, ends, strict=True)]
    return JoinedRows(rows_of(ids), groups)


def _vectors(store: Store, embedder: EmbedderIdentity, ids: Sequence[int]) -> VideoRows:
    return VideoRows(store, embedder, ids, moments=MOMENTS)


def _awaits_scores(store: Store, snapshot: Snapshot, videos: Sequence[SeasonVideo]) -> bool:
    """Whether scores are still to come; a model that cannot score is not waited for."""
    if store.snapshots.current().problem is not None:
        return False
    unscored = store.scores.unscored(snapshot)
    return any(video.id in unscored for video in videos)


def _drift(
    over: str,
    reference: Sequence[FloatArray],
    new: Sequence[FloatArray],
    campaign: Campaign,
    alpha: float,
    rng: np.random.Generator,
) -> Drift | None:
    """Test one kind of values; None where fewer than two videos of a side have any."""
    try:
        tested = video_permutation_mmd(reference, new, rng=rng)
    except ValueError:
        return None
    return Drift(
        over=over,
        p=tested.p,
        alpha=alpha,
        effect=tested.shift,
        reference=len(campaign.reference),
        new=len(campaign.new),
        enough=tested.smallest_p <= alpha,
        videos=_driving(tested, campaign.new),
    )


def _driving(tested: Tested, new: Sequence[Recording]) -> tuple[tuple[str, float], ...]:
    unlike = np.nan_to_num(tested.unlikeness)
    order = np.argsort(-unlike, kind="stable")[:_DRIVING].tolist()
    return tuple((str(new[i][0].path), float(unlike[i])) for i in order if unlike[i] > 0)


def _uncertainty(store: Store, snapshot: Snapshot, ids: Sequence[int]) -> list[FloatArray]:
    rows = []
    for video_id in ids:
        scores = store.scores.of_video(video_id, snapshot, ["uncertainty"])
        known = scores is not None and "uncertainty" in scores.signals
        rows.append(scores.signals["uncertainty"] if scores and known else np.empty(0, np.float32))
    return [row[:, None] for row in rows]


def _seed(*parts: object) -> int:
    digest = hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:8])
