"""FAISS over the store's vectors: a cache that can be thrown away and rebuilt at any time.

Small archives are searched exactly. From `FLAT_LIMIT` frames on an inverted file is used, and
how many of its cells a search visits is measured on the archive's own vectors until
`RECALL_AIM` of the exact neighbours are found.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from alwatch.errors import AlwatchError

FLAT_LIMIT = 200_000
RECALL_AIM = 0.95
_RECALL_QUERIES, _RECALL_NEIGHBOURS = 200, 10

_KEPT_ERROR = 2e-3  # an element of a unit vector in float16 is off by 5e-4 at most
_REBUILD = "`alwatch reindex` makes it anew"

VectorsSince = Callable[[int], Iterator[tuple[int, int, NDArray[np.int64], NDArray[np.float16]]]]
"""Given a revision: (video id, revision, frame indices, float16 matrix) of what came after it."""


@dataclass(frozen=True, slots=True)
class IndexState:
    """What an index file was made from; any mismatch with the store means rebuilding.

    `recall` is the share of exact neighbours found (1.0 for an exact index), `embedder` the
    text that identifies the embedder, and `sha256` that of the FAISS file.
    """

    embedder: str
    dim: int
    n_frames: int
    revision: int
    kind: str
    recall: float
    sha256: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One frame found; `similarity` is the cosine, 1 for the same direction."""

    video_id: int
    frame: int
    similarity: float


class FrameIndex:
    """The nearest frames of an archive.

    Parameters
    ----------
    directory : Path
        Where the cache is kept.
    embedder : str
        Identifies the embedder, weights included.
    dim : int
        Length of a vector.
    """

    def __init__(self, directory: Path, *, embedder: str, dim: int) -> None:
        name = hashlib.sha256(embedder.encode()).hexdigest()[:16]
        self._file = directory / f"{name}.faiss"
        self._rows_file = directory / f"{name}.npy"
        self._state_file = directory / f"{name}.json"
        self._embedder, self._dim = embedder, dim
        self._faiss: Any = None
        self._rows = np.empty((0, 2), np.int64)  # (n, [video id, frame index])

    def refresh(
        self,
        vectors_since: VectorsSince,
        *,
        n_frames: int,
        rebuild: bool = False,
        flat_limit: int = FLAT_LIMIT,
    ) -> IndexState:
        """Make the index agree with the store, reading from it only what the cache lacks.

        Parameters
        ----------
        vectors_since : callable
        n_frames : int
            How many vectors of this embedder the store holds, in the same view of it.
        rebuild : bool
            Throw the cache away first.
        flat_limit : int
            Up to this many frames the search is exact.

        Raises
        ------
        AlwatchError
            The store gave another number of vectors than it says it holds.
        """
        state = None if rebuild else self._load()
        rows = self._rows if state is not None else np.empty((0, 2), np.int64)
        parts = list(vectors_since(state.revision if state is not None else 0))
        added = np.concatenate(
            [rows[:0], *(_rows_of(video_id, frames) for video_id, _, frames, _ in parts)]
        )
        if state is not None:
            if not parts and state.n_frames == n_frames:
                return state
            replaced = bool(np.isin(added[:, 0], rows[:, 0]).any())
            outgrown = state.kind == "flat" and n_frames > flat_limit
            if replaced or outgrown or len(rows) + len(added) != n_frames:
                return self.refresh(
                    vectors_since, n_frames=n_frames, rebuild=True, flat_limit=flat_limit
                )
        elif len(added) != n_frames:
            raise AlwatchError(
                f"The index of {self._embedder} needs {n_frames} vectors but the store gave "
                f"{len(added)}; its database is damaged: restore a backup."
            )
        vectors = _unit_rows([matrix for *_, matrix in parts], self._dim)
        if state is None:
            self._faiss, kind, recall = _build(vectors, self._dim, flat_limit)
        else:
            self._faiss.add(vectors)
            kind, recall = state.kind, state.recall
        self._rows = np.concatenate([rows, added])
        revision = max((revision for _, revision, _, _ in parts), default=0)
        return self._save(revision, kind, recall)

    def nearest(self, vector: NDArray[np.floating], k: int) -> list[Neighbour]:
        """The `k` frames whose vectors point most nearly the same way as `vector` (dim,)."""
        if self._faiss is None or len(self._rows) == 0:
            return []
        query = _unit_rows([np.asarray(vector)[None, :]], self._dim)
        similarities, rows = self._faiss.search(query, min(k, len(self._rows)))
        return [
            Neighbour(int(self._rows[row, 0]), int(self._rows[row, 1]), float(similarity))
            for similarity, row in zip(similarities[0], rows[0], strict=True)
            if row >= 0
        ]

    def fault(self, vectors_since: VectorsSince) -> str | None:
        """What is wrong with the cache; None where it agrees with the store, or is only behind.

        Parameters
        ----------
        vectors_since : callable
        """
        if not self._state_file.exists():
            return None
        state = self._load()
        if state is None:
            return "cannot be read, or is not what was written; the next search makes it anew"
        if state.kind == "ivf":
            self._faiss.make_direct_map()
        order = np.lexsort((self._rows[:, 1], self._rows[:, 0]))
        video_ids = self._rows[order, 0]
        n_told = 0
        for video_id, revision, frames, matrix in vectors_since(0):
            rows = order[slice(*np.searchsorted(video_ids, [video_id, video_id + 1]))]
            n_told += len(rows)
            if revision > state.revision:
                continue  # written since
            if not np.array_equal(self._rows[rows, 1], frames):
                return f"has other frames of video {video_id} than the database; {_REBUILD}"
            kept = self._faiss.reconstruct_batch(rows)
            if not np.allclose(kept, _unit_rows([matrix], self._dim), atol=_KEPT_ERROR):
                return f"has other vectors of video {video_id} than the database; {_REBUILD}"
        if n_told != len(self._rows):
            return f"has frames of videos that the database does not have; {_REBUILD}"
        return None

    def _load(self) -> IndexState | None:
        """The cached state, with the index loaded; None where anything about it is wrong."""
        try:
            state = IndexState(**json.loads(self._state_file.read_text()))
            rows = np.load(self._rows_file, allow_pickle=False)
            if (state.embedder, state.dim) != (self._embedder, self._dim):
                return None
            if len(rows) != state.n_frames or _sha256(self._file) != state.sha256:
                return None
            index = faiss.read_index(str(self._file))
        except (OSError, ValueError, TypeError, KeyError, RuntimeError):
            return None
        if index.ntotal != state.n_frames or index.d != self._dim:
            return None
        self._faiss, self._rows = index, rows
        return state

    def _save(self, revision: int, kind: str, recall: float) -> IndexState:
        """Write rows, index and state, each durable before it gets its name; the state last."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        index_temporary = self._file.with_suffix(".faiss.tmp")
        faiss.write_index(self._faiss, str(index_temporary))
        rows_temporary = self._rows_file.with_suffix(".tmp.npy")
        np.save(rows_temporary, self._rows, allow_pickle=False)
        state = IndexState(
            embedder=self._embedder,
            dim=self._dim,
            n_frames=len(self._rows),
            revision=revision,
            kind=kind,
            recall=recall,
            sha256=_sha256(index_temporary),
        )
        state_temporary = self._state_file.with_suffix(".json.tmp")
        state_temporary.write_text(json.dumps(asdict(state), indent=1))
        for temporary, final in (
            (index_temporary, self._file),
            (rows_temporary, self._rows_file),
            (state_temporary, self._state_file),
        ):
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            temporary.replace(final)
        return state


def _rows_of(video_id: int, frames: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.stack([np.full(len(frames), video_id, np.int64), frames], axis=1)


def _unit_rows(parts: list[NDArray[np.floating]], dim: int) -> NDArray[np.float32]:
    vectors = np.empty((sum(map(len, parts)), dim), np.float32)
    start = 0
    for part in parts:
        vectors[start : start + len(part)] = part
        start += len(part)
    faiss.normalize_L2(vectors)
    return vectors


def _build(vectors: NDArray[np.float32], dim: int, flat_limit: int) -> tuple[Any, str, float]:
    """An index of the type that suits the size, its kind, and its measured recall."""
    if len(vectors) <= flat_limit:
        # float16 is what the store keeps, so nothing is lost and half the memory is.
        index: Any = faiss.IndexScalarQuantizer(
            dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        index.add(vectors)
        return index, "flat", 1.0
    cells = int(4 * np.sqrt(len(vectors)))
    index = faiss.index_factory(dim, f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = 1234  # the same archive gives the same index
    step = max(1, len(vectors) // (cells * 64))
    index.train(vectors[::step])
    index.add(vectors)
    queries = vectors[:: max(1, len(vectors) // _RECALL_QUERIES)]
    exact = faiss.knn(queries, vectors, _RECALL_NEIGHBOURS, metric=faiss.METRIC_INNER_PRODUCT)[1]
    index.nprobe = 1
    while True:
        found = index.search(queries, _RECALL_NEIGHBOURS)[1]
        recall = float(
            np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, exact, strict=True)])
            / _RECALL_NEIGHBOURS
        )
        if recall >= RECALL_AIM or index.nprobe >= cells:
            return index, "ivf", recall
        index.nprobe = min(2 * index.nprobe, cells)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
