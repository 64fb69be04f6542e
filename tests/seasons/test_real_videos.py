"""Drift and novelty on real flies: stretches of recordings stand for videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from alwatch.embedders.hog import HogEmbedder
from alwatch.records import LabelledFrame, LabelledPoint
from alwatch.seasons.assess import assess_seasons
from alwatch.store import Store
from tests.store.helpers import NOW, ingested, seen

STRETCHES, FRAMES = 24, 8
HEAD = LabelledPoint("", "head", 80.0, 80.0)


def stretches(video: Path) -> list[np.ndarray]:
    """The vectors of `FRAMES` frames of each stretch."""
    capture = cv2.VideoCapture(str(video))
    n = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(np.linspace(0, n - 1, STRETCHES * FRAMES).astype(int).tolist())
    images = []
    for index in range(n):
        is_read, image = capture.read()
        if is_read and index in wanted:
            small = cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA)
            images.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
    vectors = HogEmbedder().embed(np.stack(images))
    return [vectors[low : low + FRAMES] for low in range(0, STRETCHES * FRAMES, FRAMES)]


@pytest.fixture(scope="module")
def store(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Of one recording every other stretch is taught; the rest, and another recording, are new."""
    folder = data_dir / "flies-dlc" / "videos"
    if not folder.is_dir():
        pytest.skip(f"no videos of flies at {folder}")
    taught = stretches(folder / "fly20190128_a.mp4")
    other = stretches(folder / "clip_a.mp4")
    with Store(tmp_path_factory.mktemp("state")) as store:
        labels = []
        for season, parts in (
            ("taught", taught[::2]), ("alike", taught[1::2]), ("other", other[::4]),
        ):  # fmt: skip
            for number, vectors in enumerate(parts):
                path = f"{season}/{number}.mp4"
                store.videos.link(seen(path), f"hash-of-{path}", NOW)
                claim = store.videos.claim(NOW)
                assert claim is not None
                frames = list(range(FRAMES))
                video = ingested(frames, embedder=HogEmbedder().identity, vectors=vectors)
                store.videos.finish(claim.video_id, video, season, NOW)
                if season == "taught":
                    label = LabelledFrame(Path("/p"), path, 3, Path("/p"), (HEAD,))
                    labels.append((claim.video_id, label))
        store.labels.set("folder", Path("/p"), labels, NOW)
        yield store


def test_another_recording_of_flies_is_drift_and_the_same_one_is_not(store: Store) -> None:
    found = assess_seasons(
        store, HogEmbedder().identity, ["alike", "other"], before={}, drift_alpha=0.01
    )
    (alike,), (other,) = found["alike"].drift, found["other"].drift
    assert not alike.is_found
    assert other.is_found
    assert other.effect > 1 > alike.effect
    assert found["alike"].coverage > 2 * found["other"].coverage
