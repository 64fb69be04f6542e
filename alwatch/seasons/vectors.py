"""The vectors of videos, each read from the store when it is looked at and not kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from alwatch.records import EmbedderIdentity
from alwatch.scores.distances import unit_rows
from alwatch.scores.moments import evenly_spaced
from alwatch.store import Store

if TYPE_CHECKING:
    from alwatch.records import FloatArray


class VideoRows(Sequence["FloatArray"]):
    """Of each video its vectors, float32 of shape (frames, dim), scaled to length 1.

    Parameters
    ----------
    store : Store
    embedder : EmbedderIdentity
    video_ids : sequence of int
        Videos that have vectors of this embedder.
    moments : int, optional
        Only so many evenly spaced frames of each, as many as `scores.moments` would read.
    """

    def __init__(
        self,
        store: Store,
        embedder: EmbedderIdentity,
        video_ids: Sequence[int],
        *,
        moments: int | None = None,
    ) -> None:
        self._store, self._embedder = store, embedder
        self._video_ids, self._moments = video_ids, moments

    def __len__(self) -> int:
        return len(self._video_ids)

    @overload
    def __getitem__(self, number: int) -> FloatArray: ...

    @overload
    def __getitem__(self, number: slice) -> VideoRows: ...

    def __getitem__(self, number: int | slice) -> FloatArray | VideoRows:
        if isinstance(number, slice):
            ids = self._video_ids[number]
            return VideoRows(self._store, self._embedder, ids, moments=self._moments)
        matrix = self._store.pools.video_vectors(self._embedder, self._video_ids[number]).matrix
        if self._moments is not None:
            matrix = matrix[evenly_spaced(len(matrix), self._moments)]
        return unit_rows(matrix)


class JoinedRows(Sequence["FloatArray"]):
    """Of each group of videos their rows, one video after the other.

    Parameters
    ----------
    rows : sequence of float arrays (n_i, d)
        Of the videos.
    groups : sequence of sequences of int
        Numbers of the videos of each group.
    """

    def __init__(self, rows: Sequence[FloatArray], groups: Sequence[Sequence[int]]) -> None:
        self._rows, self._groups = rows, groups

    def __len__(self) -> int:
        return len(self._groups)

    @overload
    def __getitem__(self, number: int) -> FloatArray: ...

    @overload
    def __getitem__(self, number: slice) -> JoinedRows: ...

    def __getitem__(self, number: int | slice) -> FloatArray | JoinedRows:
        if isinstance(number, slice):
            return JoinedRows(self._rows, self._groups[number])
        return np.concatenate([self._rows[video] for video in self._groups[number]])


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVectors:
    """Frames that people are done with, of all seasons.

    Parameters
    ----------
    vectors : float32 array of shape (m, dim), of length 1
    video_ids : int64 array of shape (m,)
    """

    vectors: FloatArray
    video_ids: NDArray[np.int64]


def labelled_vectors(store: Store, embedder: EmbedderIdentity) -> LabelledVectors:
    """The vectors of all labelled frames that have one."""
    rows, ids = [np.empty((0, embedder.dim), np.float32)], [np.empty(0, np.int64)]
    for video_id, frames in store.labels.frames().items():
        try:
            own = store.pools.video_vectors(embedder, video_id)
        except KeyError:
            continue
        found = unit_rows(own.matrix[np.isin(own.frame_indices, frames)])
        rows.append(found)
        ids.append(np.full(len(found), video_id))
    return LabelledVectors(np.concatenate(rows), np.concatenate(ids))
