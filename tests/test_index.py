from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from alwatch.errors import AlwatchError
from alwatch.index import RECALL_AIM, FrameIndex, IndexState

Part = tuple[int, int, NDArray[np.int64], NDArray[np.float16]]


class Vectors:
    """Stands for the store: videos with their revision, frame indices and vectors."""

    def __init__(self, dim: int = 8) -> None:
        self.dim = dim
        self.parts: dict[int, Part] = {}
        self.read = 0
        self._rng = np.random.default_rng(0)

    def put(self, video_id: int, n: int) -> None:
        revision = 1 + max((part[1] for part in self.parts.values()), default=0)
        matrix = self._rng.normal(size=(n, self.dim)).astype(np.float16)
        self.parts[video_id] = (video_id, revision, np.arange(n) * 10, matrix)

    def since(self, revision: int) -> Iterator[Part]:
        for part in sorted(self.parts.values(), key=lambda part: part[1]):
            if part[1] > revision:
                self.read += 1
                yield part

    @property
    def n_frames(self) -> int:
        return sum(len(part[2]) for part in self.parts.values())

    def nearest_by_hand(self, vector: NDArray[np.float16]) -> list[tuple[int, int]]:
        """Every frame, by brute force, nearest first."""
        found = []
        for video_id, _, frames, matrix in self.parts.values():
            unit = matrix.astype(float) / np.linalg.norm(matrix.astype(float), axis=1)[:, None]
            cosines = unit @ (vector.astype(float) / np.linalg.norm(vector.astype(float)))
            found += [(-c, video_id, int(f)) for c, f in zip(cosines, frames, strict=True)]
        return [(video_id, frame) for _, video_id, frame in sorted(found)]


def refresh(index: FrameIndex, vectors: Vectors, **options: int) -> IndexState:
    return index.refresh(vectors.since, n_frames=vectors.n_frames, **options)  # type: ignore[arg-type]


def found(index: FrameIndex, vector: NDArray[np.float16], k: int = 5) -> list[tuple[int, int]]:
    return [(n.video_id, n.frame) for n in index.nearest(vector, k)]


@pytest.fixture
def vectors() -> Vectors:
    vectors = Vectors()
    vectors.put(1, 20)
    vectors.put(2, 30)
    return vectors


def open_index(folder: Path, dim: int = 8, embedder: str = "hog 1") -> FrameIndex:
    return FrameIndex(folder, embedder=embedder, dim=dim)


def test_a_small_index_finds_exactly_the_nearest_frames(tmp_path: Path, vectors: Vectors) -> None:
    index = open_index(tmp_path)
    state = refresh(index, vectors)
    assert (state.kind, state.recall, state.n_frames) == ("flat", 1.0, 50)
    for row in range(5):
        query = vectors.parts[1][3][row]
        assert found(index, query) == vectors.nearest_by_hand(query)[:5]


def test_a_cached_index_is_loaded_without_reading_vectors(tmp_path: Path, vectors: Vectors) -> None:
    refresh(open_index(tmp_path), vectors)
    vectors.read = 0
    index = open_index(tmp_path)
    refresh(index, vectors)
    assert vectors.read == 0
    query = vectors.parts[2][3][3]
    assert found(index, query) == vectors.nearest_by_hand(query)[:5]


def test_new_videos_are_added_to_the_cache(tmp_path: Path, vectors: Vectors) -> None:
    refresh(open_index(tmp_path), vectors)
    vectors.put(3, 10)
    vectors.read = 0
    index = open_index(tmp_path)
    assert refresh(index, vectors).n_frames == 60
    assert vectors.read == 1
    query = vectors.parts[3][3][0]
    assert found(index, query) == vectors.nearest_by_hand(query)[:5]


def test_a_video_that_was_embedded_again_is_not_found_twice(
    tmp_path: Path, vectors: Vectors
) -> None:
    refresh(open_index(tmp_path), vectors)
    vectors.put(1, 25)
    index = open_index(tmp_path)
    assert refresh(index, vectors).n_frames == 55
    query = vectors.parts[1][3][0]
    assert found(index, query, 55) == vectors.nearest_by_hand(query)


@pytest.mark.parametrize("suffix", [".faiss", ".npy", ".json"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "bit flipped"])
def test_a_harmed_cache_is_rebuilt_with_the_same_answers(
    tmp_path: Path, vectors: Vectors, suffix: str, harm: str
) -> None:
    refresh(open_index(tmp_path), vectors)
    (file,) = tmp_path.glob(f"*{suffix}")
    content = bytearray(file.read_bytes())
    if harm == "missing":
        file.unlink()
    elif harm == "truncated":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0x40
        file.write_bytes(content)
    index = open_index(tmp_path)
    refresh(index, vectors)
    query = vectors.parts[2][3][7]
    assert found(index, query) == vectors.nearest_by_hand(query)[:5]


def test_a_cache_of_another_embedder_is_not_used(tmp_path: Path, vectors: Vectors) -> None:
    refresh(open_index(tmp_path), vectors)
    vectors.read = 0
    refresh(open_index(tmp_path, embedder="hog 2"), vectors)
    assert vectors.read == 2


def test_a_large_index_is_approximate_with_its_recall_measured(tmp_path: Path) -> None:
    vectors = Vectors(dim=16)
    for video_id in range(10):
        vectors.put(video_id, 400)
    index = open_index(tmp_path, dim=16)
    state = refresh(index, vectors, flat_limit=1000)
    assert state.kind == "ivf"
    assert RECALL_AIM <= state.recall <= 1.0
    hits = 0
    for row in range(0, 400, 10):
        query = vectors.parts[3][3][row]
        hits += len(set(found(index, query, 10)) & set(vectors.nearest_by_hand(query)[:10]))
    assert hits / 400 > RECALL_AIM - 0.1
    reloaded = open_index(tmp_path, dim=16)
    refresh(reloaded, vectors, flat_limit=1000)
    assert found(reloaded, query, 10) == found(index, query, 10)


def test_an_index_that_outgrows_the_limit_changes_its_kind(
    tmp_path: Path, vectors: Vectors
) -> None:
    assert refresh(open_index(tmp_path), vectors, flat_limit=60).kind == "flat"
    vectors.put(3, 900)
    assert refresh(open_index(tmp_path), vectors, flat_limit=60).kind == "ivf"


def test_an_empty_archive_has_no_neighbours(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    assert refresh(index, Vectors()).n_frames == 0
    assert index.nearest(np.ones(8), 3) == []


def test_a_store_that_contradicts_itself_is_not_indexed(tmp_path: Path, vectors: Vectors) -> None:
    with pytest.raises(AlwatchError, match="needs 51 vectors but the store gave 50"):
        open_index(tmp_path).refresh(vectors.since, n_frames=51)


def test_no_temporary_file_is_left(tmp_path: Path, vectors: Vectors) -> None:
    refresh(open_index(tmp_path), vectors)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".faiss", ".json", ".npy"]


@pytest.mark.parametrize("flat_limit", [1000, 10])
def test_a_cache_that_agrees_or_is_only_behind_has_no_fault(
    tmp_path: Path, vectors: Vectors, flat_limit: int
) -> None:
    index = FrameIndex(tmp_path, embedder="e", dim=8)
    assert index.fault(vectors.since) is None  # as there is none
    vectors.put(9, 400)
    refresh(index, vectors, flat_limit=flat_limit)
    vectors.put(1, 7)  # written anew
    vectors.put(10, 7)
    assert FrameIndex(tmp_path, embedder="e", dim=8).fault(vectors.since) is None


def test_a_cache_of_something_else_is_told(tmp_path: Path, vectors: Vectors) -> None:
    def fault() -> str:
        return FrameIndex(tmp_path, embedder="e", dim=8).fault(vectors.since) or ""

    refresh(FrameIndex(tmp_path, embedder="e", dim=8), vectors)
    assert fault() == ""
    first, before = next(iter(vectors.parts)), dict(vectors.parts)
    video_id, revision, frames, matrix = before[first]
    vectors.parts[first] = (video_id, revision, frames, matrix[::-1])
    assert fault().startswith(f"has other vectors of video {first}")
    vectors.parts[first] = (video_id, revision, frames + 1, matrix)
    assert fault().startswith(f"has other frames of video {first}")
    del vectors.parts[first]
    assert fault().startswith("has frames of videos that the database does not have")
    vectors.parts = before | {99: (99, 1, frames, matrix)}
    assert fault().startswith("has other frames of video 99")
    vectors.parts = before
    (file,) = tmp_path.glob("*.faiss")
    file.write_bytes(file.read_bytes()[:-1])
    assert fault().startswith("cannot be read")
