from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alwatch.embedders.hog import HogEmbedder
from alwatch.errors import (
    DecoderDiedError,
    StopRequestedError,
    VideoError,
    VideoIncompleteError,
)
from alwatch.ingest import Ingest, IngestRules, register
from alwatch.records import FileSignature, Frame, SeenFile, Timeline, VideoInfo
from alwatch.store import Store
from alwatch.video.process import open_video
from alwatch.video.sampling import AdaptiveSampler, UniformSampler
from alwatch.watch import content_hash, has_zero_tail
from tests.videos import make_video

HOUR = timedelta(hours=1)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class ScriptedReader:
    """A video that does what a test wants it to: frames that are missing, or an error."""

    def __init__(
        self,
        *,
        missing: set[int] | None = None,
        error: Exception | None = None,
        problem: str | None = None,
    ) -> None:
        self._missing, self._error, self._problem = missing or set(), error, problem
        self.path_used = "sequence"

    def probe(self) -> tuple[VideoInfo, Timeline]:
        if self._error is not None:
            raise self._error
        timeline = Timeline(np.arange(10), np.ones(10, bool), Fraction(1, 10), "packets", True)
        info = VideoInfo("mp4", "h264", 32, 32, 0, 10.0, 1.0, problem=self._problem)
        return info, timeline

    def read(self, indices: Any, *, size_px: tuple[int, int] | None = None) -> Iterator[Frame]:
        for index in indices:
            if index not in self._missing:
                image = np.full((*(size_px or (32, 32)), 3), index * 20, np.uint8)
                yield Frame(int(index), int(index), True, image)


class House:
    """An ingest over a real store, with a clock that a test can move."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.store = Store(folder / "state")
        self.sampler: Any = UniformSampler(rate_hz=5, stride=None, max_frames=1000)
        self.open_video: Any = open_video

    def ingest(self, **rules: Any) -> Ingest:
        return Ingest(
            self.store,
            embedder=HogEmbedder(),
            sampler=self.sampler,
            open_video=self.open_video,
            season_of=lambda file, recorded_at: "s1",
            has_zero_tail=has_zero_tail,
            rules=IngestRules(**rules),
            clock=self.clock,
        )

    def register(self, path: Path) -> bool:
        file = SeenFile(path, self.folder, FileSignature.from_stat(path.stat()))
        return register(self.store, file, content_hash, self.clock())

    def script(self, reader: ScriptedReader) -> None:
        @contextmanager
        def opened(path: Path) -> Iterator[ScriptedReader]:
            yield reader

        self.open_video = opened


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_video_becomes_frames_and_vectors(house: House) -> None:
    house.register(make_video(house.folder / "a.mp4"))
    outcome = house.ingest().work_once()
    assert outcome is not None
    assert (outcome.state, outcome.n_frames) == ("done", 10)
    identity = HogEmbedder().identity
    frames = house.store.pools.season_frames(identity, "s1")
    assert frames.frame_indices.tolist() == list(range(0, 50, 5))
    assert frames.vectors.shape == (10, identity.dim)
    assert house.ingest().work_once() is None


def test_vectors_are_those_of_the_frames_they_are_kept_with(house: House) -> None:
    """Each vector equals that of its frame decoded alone, so no row is shifted."""
    path = make_video(house.folder / "a.mp4")
    house.sampler = AdaptiveSampler(rate_hz=2, max_frames=20, min_gap_s=0.04)
    house.register(path)
    house.ingest().work_once()
    embedder = HogEmbedder()
    kept = house.store.pools.season_frames(embedder.identity)
    assert len(kept.frame_indices) > 4
    with open_video(path) as video:
        info, _ = video.probe()
        size_px = embedder.frame_size_px(info.height_px, info.width_px)
        for row, index in enumerate(kept.frame_indices):
            (frame,) = video.read(np.array([index]), size_px=size_px)
            alone = embedder.embed(frame.image[None])[0]
            np.testing.assert_allclose(kept.vectors[row], alone, atol=2e-3)


def test_a_copy_under_another_name_is_not_decoded(house: House) -> None:
    path = make_video(house.folder / "a.mp4")
    house.register(path)
    house.ingest().work_once()
    copy = house.folder / "b.mp4"
    copy.write_bytes(path.read_bytes())
    assert not house.register(copy)
    assert house.ingest().work_once() is None


def test_a_file_that_changed_since_it_settled_is_left_to_the_next_scan(house: House) -> None:
    path = make_video(house.folder / "a.mp4")
    house.register(path)
    make_video(path, seed=1)
    outcome = house.ingest().work_once()
    assert outcome is not None
    assert outcome.state == "waiting"
    assert house.store.videos.known_signatures() == {}
    assert house.store.pools.n_frames() == 0


def test_a_file_that_changes_while_it_is_read_is_not_kept(house: House) -> None:
    path = make_video(house.folder / "a.mp4")
    house.register(path)
    outcome = house.ingest().work_once(on_frames=lambda n: os.utime(path, ns=(0, 0)))
    assert outcome is not None
    assert outcome.state == "waiting"
    assert house.store.pools.n_frames() == 0


def test_a_vanished_file_is_no_attempt_and_no_fault(house: House) -> None:
    path = make_video(house.folder / "a.mp4")
    house.register(path)
    path.unlink()
    outcome = house.ingest().work_once()
    assert outcome is not None
    assert outcome.state == "waiting"
    assert house.ingest().work_once() is None
    assert house.store.videos.counts().offline == 1


def test_frames_that_cannot_be_decoded_make_the_video_partial(house: House) -> None:
    house.register(make_video(house.folder / "a.mp4"))
    house.script(ScriptedReader(missing={4, 6}))
    house.sampler = UniformSampler(rate_hz=None, stride=2, max_frames=1000)
    outcome = house.ingest().work_once()
    assert outcome is not None
    assert (outcome.state, outcome.n_frames) == ("partial", 3)
    assert outcome.reason is not None
    assert "2 of 5 frames" in outcome.reason
    kept = house.store.pools.season_frames(HogEmbedder().identity)
    assert kept.frame_indices.tolist() == [0, 2, 8]


def test_a_video_that_ends_early_is_partial_even_if_all_its_frames_are_good(house: House) -> None:
    house.register(make_video(house.folder / "a.mp4"))
    house.script(ScriptedReader(problem="the file ends early"))
    outcome = house.ingest().work_once()
    assert outcome is not None
    assert (outcome.state, outcome.reason) == ("partial", "the file ends early")


def test_a_video_without_any_decodable_frame_is_quarantined(house: House) -> None:
    house.register(make_video(house.folder / "a.mp4"))
    house.script(ScriptedReader(missing=set(range(10))))
    outcome = house.ingest().work_once()
    assert outcome is not None
    assert outcome.state == "quarantined"


def test_a_sampler_that_repeats_itself_does_not_loop(house: House) -> None:
    class Insistent:
        def first(self, timeline: Timeline) -> Any:
            return np.array([0, 4])

        def more(self, timeline: Timeline, indices: Any, vectors: Any) -> Any:
            return np.array([2, 4])

    house.register(make_video(house.folder / "a.mp4"))
    house.script(ScriptedReader(missing={2}))
    house.sampler = Insistent()
    outcome = house.ingest().work_once()
    assert outcome is not None
    assert outcome.n_frames == 2


def test_a_bad_video_is_quarantined_at_once(house: House) -> None:
    house.register(make_video(house.folder / "a.mp4"))
    house.script(ScriptedReader(error=VideoError("not a video")))
    outcome = house.ingest().work_once()
    assert outcome is not None
    assert (outcome.state, outcome.reason) == ("quarantined", "not a video")


def test_an_unfinished_video_is_waited_for_once(house: House) -> None:
    house.register(make_video(house.folder / "a.mp4"))
    house.script(ScriptedReader(error=VideoIncompleteError("no moov")))
    ingest = house.ingest(patience_s=600)
    first = ingest.work_once()
    assert first is not None
    assert first.state == "waiting"
    assert ingest.work_once() is None
    house.clock.now += HOUR
    second = ingest.work_once()
    assert second is not None
    assert second.state == "quarantined"


def test_a_file_that_ends_in_zeros_is_waited_for_and_then_tried(house: House) -> None:
    path = make_video(house.folder / "a.mp4")
    with open(path, "ab") as file:
        file.write(bytes(100_000))
    house.register(path)
    ingest = house.ingest(patience_s=600)
    first = ingest.work_once()
    assert first is not None
    assert first.state == "waiting"
    house.clock.now += HOUR
    second = ingest.work_once()
    assert second is not None
    assert second.state == "done"


def test_a_video_that_kills_its_decoder_gets_as_many_attempts_as_are_set(house: House) -> None:
    house.register(make_video(house.folder / "a.mp4"))
    house.script(ScriptedReader(error=DecoderDiedError("signal 11")))
    ingest = house.ingest(attempts=3)
    outcomes = [ingest.work_once() for _ in range(4)]
    states = [outcome and outcome.state for outcome in outcomes]
    assert states == ["ready", "ready", "quarantined", None]


def test_a_defect_is_written_on_the_video_and_the_next_one_follows(house: House) -> None:
    house.register(make_video(house.folder / "a.mp4"))
    house.register(make_video(house.folder / "b.mp4", seed=1))
    good = open_video
    house.open_video = lambda path: good(path) if path.name == "b.mp4" else 1 / 0
    ingest = house.ingest(attempts=1)
    outcomes = [ingest.work_once(), ingest.work_once()]
    assert [outcome and outcome.state for outcome in outcomes] == ["quarantined", "done"]


def test_a_stop_gives_the_video_back_untried(house: House) -> None:
    def stop(n: int) -> None:
        raise StopRequestedError("now")

    house.register(make_video(house.folder / "a.mp4"))
    with pytest.raises(StopRequestedError):
        house.ingest().work_once(on_frames=stop)
    claim = house.store.videos.claim(house.clock())
    assert claim is not None
    assert claim.attempts == 1


def test_a_file_that_may_not_be_read_is_quarantined_until_it_may(house: House) -> None:
    path = make_video(house.folder / "a.mp4")
    file = SeenFile(path, house.folder, FileSignature.from_stat(path.stat()))

    def forbidden(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    register(house.store, file, forbidden, house.clock())
    (bad,) = house.store.videos.listing("quarantined")
    assert bad.reason is not None
    assert "Permission denied" in bad.reason
    path.chmod(0o600)
    house.register(path)
    outcome = house.ingest().work_once()
    assert outcome is not None
    assert outcome.state == "done"
    assert house.store.videos.counts().quarantined == 0


def test_a_known_video_outlives_a_read_error_when_its_file_is_seen_anew(house: House) -> None:
    path = make_video(house.folder / "a.mp4")
    house.register(path)
    house.ingest().work_once()

    def broken(path: Path) -> str:
        raise OSError(5, "Input/output error", str(path))

    path.chmod(0o600)
    file = SeenFile(path, house.folder, FileSignature.from_stat(path.stat()))
    assert not register(house.store, file, broken, house.clock())
    assert house.store.videos.counts().done == 1


def test_a_drive_that_goes_away_in_the_middle_quarantines_nothing(house: House) -> None:
    path = make_video(house.folder / "a.mp4")
    house.register(path)

    class Vanishing(ScriptedReader):
        def probe(self) -> tuple[VideoInfo, Timeline]:
            path.unlink()
            raise VideoError("cannot be opened")

    house.script(Vanishing())
    outcome = house.ingest().work_once()
    assert outcome is not None
    assert outcome.state == "waiting"
    assert house.store.videos.counts().quarantined == 0


def test_ingesting_writes_nothing_in_the_archive(house: House) -> None:
    archive = house.folder / "archive"
    path = make_video(archive / "a.mp4")
    before = {p: p.stat() for p in archive.rglob("*")}
    house.register(path)
    house.ingest().work_once()
    after = {p: p.stat() for p in archive.rglob("*")}
    assert set(before) == set(after)
    for p in before:
        assert FileSignature.from_stat(before[p]) == FileSignature.from_stat(after[p])
