"""What every embedder must do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from alwatch.embedders.hog import HogEmbedder
from alwatch.embedders.networks import AlexNetEmbedder, DinoEmbedder
from alwatch.protocols import Embedder

EMBEDDERS = ("hog", "alexnet", "dino_vits16", "dinov2_vits14", "dinov3_vits16")
VIDEO_SIZES_PX = ((480, 640), (640, 480), (1080, 1920), (160, 160), (64, 1024))


@pytest.fixture(scope="module", params=EMBEDDERS)
def embedder(
    request: pytest.FixtureRequest, weights_of: Callable[[str], Path]
) -> Iterator[Embedder]:
    if request.param == "hog":
        yield HogEmbedder()
    elif request.param == "alexnet":
        yield AlexNetEmbedder(weights=weights_of("alexnet"), device="cpu")
    else:
        yield DinoEmbedder(model=request.param, weights=weights_of(request.param), device="cpu")


@pytest.fixture(scope="module")
def frames(embedder: Embedder) -> NDArray[np.uint8]:
    """Seven frames of a 4:3 video: bright boxes at different places on noise."""
    height_px, width_px = embedder.frame_size_px(480, 640)
    images = np.random.default_rng(0).integers(0, 40, (7, height_px, width_px, 3), dtype=np.uint8)
    for i, image in enumerate(images):
        image[10 * i : 10 * i + 40, 12 * i : 12 * i + 30] += np.uint8(30 * i)
    return images


@pytest.fixture(scope="module")
def vectors(embedder: Embedder, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    return embedder.embed(frames)


def test_vectors_are_finite_float32_of_the_announced_length(
    embedder: Embedder, vectors: NDArray[np.float32]
) -> None:
    assert vectors.shape == (7, embedder.identity.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()


def test_different_frames_get_different_vectors(vectors: NDArray[np.float32]) -> None:
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    assert (distances[~np.eye(7, dtype=bool)] > 1e-2 * np.linalg.norm(vectors, axis=1).max()).all()


def test_the_same_frames_get_the_same_vectors(
    embedder: Embedder, frames: NDArray[np.uint8], vectors: NDArray[np.float32]
) -> None:
    np.testing.assert_array_equal(embedder.embed(frames), vectors)


def test_permuted_frames_get_permuted_vectors(
    embedder: Embedder, frames: NDArray[np.uint8], vectors: NDArray[np.float32]
) -> None:
    order = np.random.default_rng(1).permutation(7)
    assert_close(embedder.embed(frames[order]), vectors[order])


def test_a_vector_does_not_depend_on_its_neighbours_in_the_batch(
    embedder: Embedder, frames: NDArray[np.uint8], vectors: NDArray[np.float32]
) -> None:
    assert_close(np.concatenate([embedder.embed(frames[:3]), embedder.embed(frames[3:])]), vectors)
    assert_close(embedder.embed(frames[5:6]), vectors[5:6])


def test_frames_need_not_be_writable_or_contiguous(
    embedder: Embedder, frames: NDArray[np.uint8], vectors: NDArray[np.float32]
) -> None:
    bgr = frames[..., ::-1].copy()
    bgr.setflags(write=False)
    before = bgr.copy()
    assert_close(embedder.embed(bgr[..., ::-1]), vectors)
    np.testing.assert_array_equal(bgr, before)


def test_no_frames_get_no_vectors(embedder: Embedder, frames: NDArray[np.uint8]) -> None:
    vectors = embedder.embed(frames[:0])
    assert vectors.shape == (0, embedder.identity.dim)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("size_px", VIDEO_SIZES_PX)
def test_frames_of_any_video_are_embedded_at_the_size_asked_for(
    embedder: Embedder, size_px: tuple[int, int]
) -> None:
    frames = np.random.default_rng(2).integers(
        0, 256, (1, *embedder.frame_size_px(*size_px), 3), dtype=np.uint8
    )
    assert embedder.embed(frames).shape == (1, embedder.identity.dim)


def test_frames_of_another_size_are_refused_with_both_sizes(embedder: Embedder) -> None:
    wanted = "|".join(map(str, embedder.frame_size_px(250, 301)))
    with pytest.raises(ValueError, match=rf"{wanted}.*\(2, 250, 301, 3\)"):
        embedder.embed(np.zeros((2, 250, 301, 3), np.uint8))


def test_frames_of_another_type_are_refused(embedder: Embedder, frames: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"uint8.*float32"):
        embedder.embed(frames.astype(np.float32))
    with pytest.raises(ValueError, match="uint8"):
        embedder.embed(frames[..., :1])


def test_storing_vectors_as_float16_hardly_turns_them(vectors: NDArray[np.float32]) -> None:
    stored = vectors.astype(np.float16).astype(np.float32)
    cosine = (stored * vectors).sum(axis=1) / (
        np.linalg.norm(stored, axis=1) * np.linalg.norm(vectors, axis=1)
    )
    assert (cosine > 0.9999).all()


def test_the_identity_does_not_change_with_use(
    embedder: Embedder, frames: NDArray[np.uint8]
) -> None:
    before = embedder.identity
    embedder.embed(frames)
    assert embedder.identity == before
    assert before.dim > 0
    assert before.name in EMBEDDERS


def assert_close(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(actual, expected, atol=2e-5 * np.abs(expected).max())
