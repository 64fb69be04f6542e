"""Weight files, written once for all tests of the room, and real frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.embedders.weight_files import save_small_weights

ReadFrames = Callable[[str, int, tuple[int, int]], NDArray[np.uint8]]


@pytest.fixture(scope="session")
def weights_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Model name -> a file of random weights for it."""
    folder = tmp_path_factory.mktemp("weights")
    return cache(lambda model: save_small_weights(model, folder))


@pytest.fixture(scope="session")
def read_frames(data_dir: Path) -> ReadFrames:
    """(folder of the test data, number, (height, width)) -> RGB frames, evenly spread."""

    def read(folder: str, n: int, size_px: tuple[int, int]) -> NDArray[np.uint8]:
        paths = sorted((data_dir / folder).glob("*.png"))
        assert len(paths) >= n
        chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, n).astype(int)]
        return np.stack([_read_image(path, size_px) for path in chosen])

    return read


def _read_image(path: Path, size_px: tuple[int, int]) -> NDArray[np.uint8]:
    image = cv2.imread(str(path))
    assert image is not None
    small = cv2.resize(image, size_px[::-1], interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[..., ::-1], np.uint8)
