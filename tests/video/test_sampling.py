from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from alwatch.records import Timeline
from alwatch.video.sampling import AdaptiveSampler, KeyframeSampler, UniformSampler


def timeline(
    pts: list[int] | range, keys: set[int] | None = None, time_base: Fraction = Fraction(1, 1000)
) -> Timeline:
    return Timeline(
        pts=np.array(pts, dtype=np.int64),
        keyframe=np.array([i in (keys or {0}) for i in range(len(pts))], dtype=np.bool_),
        time_base=time_base,
        source="packets",
        seekable=True,
    )


def constant(n_frames: int, fps: int = 25, keys: set[int] | None = None) -> Timeline:
    return timeline(range(n_frames), keys, Fraction(1, fps))


def times_s(video: Timeline, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([video.time_s(int(i)) for i in indices])


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    gaps = draw(st.lists(st.integers(1, 3000), max_size=150))
    start = draw(st.integers(-5000, 5000))
    pts = np.cumsum([start, *gaps]).tolist()
    return timeline(pts, draw(st.sets(st.integers(0, len(pts) - 1))))


# --- uniform -----------------------------------------------------------------------------------


def test_a_rate_takes_one_frame_per_tick() -> None:
    sampler = UniformSampler(rate_hz=5, stride=None, max_frames=100)
    assert sampler.first(constant(26)).tolist() == [0, 5, 10, 15, 20, 25]


def test_a_rate_that_does_not_divide_takes_the_frame_on_show_at_each_tick() -> None:
    sampler = UniformSampler(rate_hz=3, stride=None, max_frames=100)
    assert sampler.first(constant(26)).tolist() == [0, 8, 16, 25]


def test_a_rate_goes_by_time_where_frames_come_unevenly() -> None:
    video = timeline([0, 100, 200, 2900, 3000, 3100])
    sampler = UniformSampler(rate_hz=1, stride=None, max_frames=100)
    assert sampler.first(video).tolist() == [0, 2, 4]


def test_milliseconds_rounded_by_the_container_still_meet_their_tick() -> None:
    video = timeline([round(i * 1000 / 30) for i in range(31)])
    sampler = UniformSampler(rate_hz=30, stride=None, max_frames=100)
    assert sampler.first(video).tolist() == list(range(31))


def test_a_stride_takes_every_nth_frame() -> None:
    sampler = UniformSampler(rate_hz=None, stride=4, max_frames=100)
    assert sampler.first(constant(10)).tolist() == [0, 4, 8]


@pytest.mark.parametrize(
    "sampler",
    [
        UniformSampler(rate_hz=25, stride=None, max_frames=5),
        UniformSampler(rate_hz=None, stride=1, max_frames=5),
    ],
)
def test_a_cap_widens_the_spacing_over_the_whole_video(sampler: UniformSampler) -> None:
    assert sampler.first(constant(101)).tolist() == [0, 25, 50, 75, 100]


@given(timelines(), st.floats(0.01, 100), st.integers(1, 50))
def test_uniform_samples_are_frames_in_order_and_within_the_cap(
    video: Timeline, rate_hz: float, max_frames: int
) -> None:
    sampler = UniformSampler(rate_hz=rate_hz, stride=None, max_frames=max_frames)
    picked = sampler.first(video)
    assert 1 <= picked.size <= max_frames
    assert picked[0] == 0
    assert picked[-1] < video.n_frames
    assert (np.diff(picked) > 0).all()
    assert sampler.more(video, picked, np.zeros((picked.size, 2), np.float32)).size == 0


@pytest.mark.parametrize(("rate_hz", "stride"), [(None, None), (1.0, 2), (0.0, None), (None, 0)])
def test_a_uniform_sampler_needs_one_sensible_spacing(
    rate_hz: float | None, stride: int | None
) -> None:
    with pytest.raises(ValueError, match=r"rate_hz|stride"):
        UniformSampler(rate_hz=rate_hz, stride=stride, max_frames=10)


# --- keyframes ---------------------------------------------------------------------------------


def test_keyframes_are_taken_as_they_are() -> None:
    sampler = KeyframeSampler(max_frames=100, min_gap_s=0)
    assert sampler.first(constant(100, keys={0, 30, 77})).tolist() == [0, 30, 77]


def test_a_video_of_nothing_but_keyframes_is_thinned_by_gap_and_then_by_cap() -> None:
    video = constant(101, keys=set(range(101)))
    assert KeyframeSampler(max_frames=100, min_gap_s=1).first(video).tolist() == [
        0, 25, 50, 75, 100,
    ]  # fmt: skip
    assert KeyframeSampler(max_frames=3, min_gap_s=1).first(video).tolist() == [0, 50, 100]


@pytest.mark.parametrize(("keys", "expected"), [({0}, [0]), ({4}, [4]), ({-1}, [0])])
def test_one_keyframe_or_none_still_yields_a_frame(keys: set[int], expected: list[int]) -> None:
    video = constant(10, keys=keys)
    assert KeyframeSampler(max_frames=5, min_gap_s=2).first(video).tolist() == expected


@given(timelines(), st.integers(1, 30), st.floats(0, 5))
def test_keyframe_samples_are_keyframes_apart_from_each_other(
    video: Timeline, max_frames: int, min_gap_s: float
) -> None:
    picked = KeyframeSampler(max_frames=max_frames, min_gap_s=min_gap_s).first(video)
    assert 1 <= picked.size <= max_frames
    assert video.keyframe[picked].all() or not video.keyframe.any()
    assert (np.diff(times_s(video, picked)) >= min_gap_s - 1e-6).all()


# --- adaptive ----------------------------------------------------------------------------------


def embed_step(video: Timeline, indices: NDArray[np.int64], step_s: float) -> NDArray[np.float32]:
    """A scene that changes once: vectors turn by a right angle at `step_s`."""
    after = times_s(video, indices) >= step_s
    return np.stack([~after, after], axis=1).astype(np.float32)


def test_adaptive_starts_evenly_with_at_most_half() -> None:
    video = constant(1001)
    picked = AdaptiveSampler(rate_hz=25, max_frames=40, min_gap_s=0).first(video)
    assert picked.size == 20
    assert picked[0] == 0
    assert picked[-1] == 1000
    assert np.ptp(np.diff(picked)) <= 1


def test_adaptive_looks_closer_where_the_scene_changes() -> None:
    video = constant(2501)
    sampler = AdaptiveSampler(rate_hz=0.2, max_frames=64, min_gap_s=0.04)
    indices = sampler.first(video)
    more = sampler.more(video, indices, embed_step(video, indices, 33.0))
    assert more.size > 0
    near = np.abs(times_s(video, more) - 33.0) <= 5.0
    assert near.all()


def run_to_the_end(
    sampler: AdaptiveSampler, video: Timeline, step_s: float
) -> tuple[NDArray[np.int64], int]:
    indices = sampler.first(video)
    rounds = 0
    while True:
        more = sampler.more(video, indices, embed_step(video, indices, step_s))
        if more.size == 0:
            return indices, rounds
        assert not set(more.tolist()) & set(indices.tolist())
        assert (np.diff(more) > 0).all()
        indices = np.union1d(indices, more)
        rounds += 1


@given(timelines(), st.floats(0.05, 50), st.integers(1, 120), st.floats(0, 3), st.floats(0, 100))
def test_adaptive_ends_in_few_rounds_within_its_cap_and_gap(
    video: Timeline, rate_hz: float, max_frames: int, min_gap_s: float, step_s: float
) -> None:
    sampler = AdaptiveSampler(rate_hz=rate_hz, max_frames=max_frames, min_gap_s=min_gap_s)
    indices, rounds = run_to_the_end(sampler, video, step_s)
    assert rounds <= 6
    assert 1 <= indices.size <= max_frames
    assert (np.diff(times_s(video, indices)) >= min_gap_s - 1e-6).all()


def test_a_large_cap_is_spent_in_five_rounds_or_fewer() -> None:
    video = constant(100_000)
    sampler = AdaptiveSampler(rate_hz=1, max_frames=2000, min_gap_s=0.04)
    indices, rounds = run_to_the_end(sampler, video, 1234.5)
    assert rounds <= 5
    assert indices.size == 2000
    again, _ = run_to_the_end(sampler, video, 1234.5)
    assert np.array_equal(indices, again)


def test_adaptive_refuses_vectors_that_do_not_match() -> None:
    sampler = AdaptiveSampler(rate_hz=1, max_frames=10, min_gap_s=0)
    with pytest.raises(ValueError, match="3 indices came with 2 vectors"):
        sampler.more(constant(50), np.array([0, 20, 40]), np.zeros((2, 4), np.float32))
