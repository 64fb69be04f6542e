from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.fft import dctn  # type: ignore[import-untyped]
from skimage.feature import hog as skimage_hog

from alwatch.embedders.hog import HogEmbedder
from alwatch.records import EmbedderIdentity
from tests.embedders.conftest import ReadFrames

SIZE_PX = (128, 128)
N_GRADIENT = 576


def noise_frames(n: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, *SIZE_PX, 3), dtype=np.uint8)


def blocks_by_skimage(grey: NDArray[np.float64], norm: str) -> NDArray[np.float64]:
    blocks: NDArray[np.float64] = skimage_hog(
        grey, 9, (16, 16), (2, 2), block_norm=norm, feature_vector=False
    )
    return blocks[::2, ::2].reshape(16, 36)  # every second: ours do not overlap


def gradients_by_skimage(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float64)
    # On a nearly black frame skimage's L2 divides by its own constant of 1e-5 only, so that the
    # energy of a block before normalisation can be read off.
    energy = np.linalg.norm(blocks_by_skimage(grey * 1e-12, "L2"), axis=1) * 1e-5 / 1e-12
    fade = energy / np.sqrt(energy**2 + 8.0**2)
    faded: NDArray[np.float64] = blocks_by_skimage(grey, "L2-Hys") * fade[:, None] / np.sqrt(16)
    return faded.ravel()


def test_the_identity_is_the_recipe() -> None:
    assert HogEmbedder().identity == EmbedderIdentity("hog", "hog-1", 603)


@pytest.mark.parametrize(
    "folder",
    [
        "flies-dlc/labeled-data/clip_b",
        "dlc-openfield/openfield-Pranav-2018-10-30/labeled-data/m4s1",
    ],
)
def test_gradients_of_real_frames_are_those_of_skimage(
    read_frames: ReadFrames, folder: str
) -> None:
    frames = read_frames(folder, 5, SIZE_PX)
    reference = np.stack([gradients_by_skimage(frame) for frame in frames])
    vectors = HogEmbedder().embed(frames)
    np.testing.assert_allclose(vectors[:, :N_GRADIENT], reference, atol=2e-6)


def test_gradients_of_noise_are_those_of_skimage() -> None:
    frames = noise_frames(3)
    reference = np.stack([gradients_by_skimage(frame) for frame in frames])
    np.testing.assert_allclose(HogEmbedder().embed(frames)[:, :N_GRADIENT], reference, atol=2e-6)


def test_colours_are_the_low_frequencies_of_the_thumbnail() -> None:
    frame = noise_frames(1, seed=1)
    thumbnail = frame[0].reshape(8, 16, 8, 16, 3).mean(axis=(1, 3)).astype(np.float32)
    ycrcb = 255 * cv2.cvtColor(thumbnail / 255, cv2.COLOR_RGB2YCrCb) - [128, 127.5, 127.5]
    expected = [
        dctn(ycrcb[..., channel], norm="ortho")[u, v] / (8 * 128)
        for channel, below in ((0, 5), (1, 3), (2, 3))
        for u in range(8)
        for v in range(8)
        if u + v < below
    ]
    np.testing.assert_allclose(HogEmbedder().embed(frame)[0, N_GRADIENT:], expected, atol=2e-5)


def test_a_uniform_colour_has_no_gradients_and_only_mean_colours() -> None:
    red = np.zeros((1, *SIZE_PX, 3), np.uint8)
    red[..., 0] = 200
    vector = HogEmbedder().embed(red)[0]
    assert not vector[:N_GRADIENT].any()
    y, cr, cb = (200 * 0.299 - 128) / 128, 200 * 0.5 / 128, -200 * 0.168736 / 128
    expected = np.zeros(27)
    expected[[0, 15, 21]] = y, cr, cb
    np.testing.assert_allclose(vector[N_GRADIENT:], expected, atol=1e-6)


def test_noise_on_an_empty_floor_is_small_beside_an_edge() -> None:
    frame = np.full((1, *SIZE_PX, 3), 120, np.uint8)
    frame += np.random.default_rng(0).integers(0, 2, frame.shape, dtype=np.uint8)
    frame[:, :32, 16:] = 220  # the edge of a bright box crosses the first block
    blocks = HogEmbedder().embed(frame)[0, :N_GRADIENT].reshape(16, 36)
    sizes = np.linalg.norm(blocks, axis=1)
    assert sizes[0] > 5 * sizes[8:].max() > 0


def test_a_full_block_weighs_no_more_than_its_share() -> None:
    blocks = HogEmbedder().embed(noise_frames(4))[:, :N_GRADIENT].reshape(4, 16, 36)
    assert (np.linalg.norm(blocks, axis=2) <= 0.25).all()


def test_frames_of_one_arena_are_nearer_than_frames_of_another(read_frames: ReadFrames) -> None:
    folders = [
        "flies-dlc/labeled-data/clip_b",
        "dlc-reaching/Reaching-Mackenzie-2018-08-30/labeled-data/reachingvideo1",
        "dlc-openfield/openfield-Pranav-2018-10-30/labeled-data/m4s1",
    ]
    frames = np.concatenate([read_frames(folder, 10, SIZE_PX) for folder in folders])
    vectors = HogEmbedder().embed(frames)
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    np.fill_diagonal(distances, np.inf)
    arena = np.repeat([0, 1, 2], 10)
    np.testing.assert_array_equal(arena[distances.argmin(axis=1)], arena)


def test_the_nearest_frame_shows_the_mouse_nearby(data_dir: Path, read_frames: ReadFrames) -> None:
    folder = "dlc-openfield/openfield-Pranav-2018-10-30/labeled-data/m4s1"
    labels = pd.read_csv(next((data_dir / folder).glob("*.csv")), header=[0, 1, 2], index_col=0)
    n = len(labels)
    where_px = labels.sort_index().to_numpy(float).reshape(n, -1, 2).mean(axis=1)
    assert n == len(list((data_dir / folder).glob("*.png")))
    vectors = HogEmbedder().embed(read_frames(folder, n, SIZE_PX))

    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    np.fill_diagonal(distances, np.inf)
    apart_px = np.linalg.norm(where_px[:, None] - where_px, axis=2)
    nearest_px = apart_px[np.arange(n), distances.argmin(axis=1)]
    assert np.nanmedian(nearest_px) < 0.3 * np.nanmedian(apart_px[~np.eye(n, dtype=bool)])


def test_chunks_do_not_show_in_the_vectors() -> None:
    frames = noise_frames(70)
    embedder = HogEmbedder()
    one_by_one = np.concatenate([embedder.embed(frame[None]) for frame in frames])
    np.testing.assert_array_equal(embedder.embed(frames), one_by_one)


def test_it_works_without_torch() -> None:
    code = "import sys, alwatch.embedders.hog; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
