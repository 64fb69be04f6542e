"""Drift tested by exchanging whole videos."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alwatch.scores.drift import Drift, smallest_p, video_permutation_mmd


def videos(n: int, d: int, seed: int, *, shift: float = 0.0, frames: int = 40) -> list[np.ndarray]:
    """Videos that differ from each other as much as their own frames do."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((frames, d)) + rng.standard_normal(d) + shift for _ in range(n)]


def compare(reference: list[np.ndarray], new: list[np.ndarray], seed: int = 0) -> Drift:
    return video_permutation_mmd(reference, new, rng=np.random.default_rng(seed))


def plain_mmd(reference: list[np.ndarray], new: list[np.ndarray]) -> float:
    """The statistic by its definition, frame by frame, of videos of 32 frames."""
    pooled = reference + new

    def apart(one: np.ndarray, other: np.ndarray) -> list[float]:
        return [float(((x - y) ** 2).sum()) for x in one for y in other]

    width = np.median([np.mean(apart(a, b)) for a, b in combinations(pooled, 2)])

    def alike(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
        of_pairs = [np.mean([np.exp(-q / (2 * width)) for q in apart(a, b)]) for a, b in pairs]
        return float(np.mean(of_pairs))

    across = [(a, b) for a in reference for b in new]
    return (
        alike(list(combinations(reference, 2))) + alike(list(combinations(new, 2)))
    ) - 2 * alike(across)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_the_statistic_is_that_of_plain_loops(shift: float) -> None:
    reference = videos(5, 3, 0, frames=32)
    new = videos(3, 3, 1, frames=32, shift=shift)
    assert compare(reference, new).statistic == pytest.approx(plain_mmd(reference, new), abs=1e-6)


@pytest.mark.parametrize("outlier", [0.0, 4.0])
def test_of_all_ways_to_choose_the_new_videos_a_share_of_alpha_at_most_raises_alarm(
    outlier: float,
) -> None:
    """The very definition of an exact test, checked over every way; one video may stand out."""
    pool = videos(8, 2, 3)
    pool[2] = pool[2] + outlier
    p = []
    for chosen in combinations(range(8), 3):
        new = [pool[i] for i in chosen]
        p.append(compare([pool[i] for i in range(8) if i not in chosen], new).p)
    found = np.array(p)
    assert len(found) == 56
    assert found.min() == pytest.approx(1 / 56)
    for alpha in found:
        assert (found <= alpha).sum() <= alpha * 56 + 1e-9


def test_with_too_many_ways_random_exchanges_give_nearly_the_exact_p() -> None:
    reference, new = videos(8, 2, 0), videos(4, 2, 5, shift=1.0)
    exact = compare(reference, new)
    assert exact.p * comb(12, 4) == pytest.approx(round(exact.p * comb(12, 4)))
    rng = np.random.default_rng(0)
    drawn = video_permutation_mmd(reference, new, rng=rng, n_permutations=400)
    assert drawn.p == pytest.approx(exact.p, abs=4 * np.sqrt(exact.p / 400) + 1 / 401)
    assert drawn.p * 401 == pytest.approx(round(drawn.p * 401))
    assert drawn.effect == pytest.approx(exact.effect, abs=0.2)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    d=st.sampled_from([1, 3, 40]),
    offset=st.sampled_from([-50.0, 0.0, 3.0]),
    times=st.integers(1, 4),
)
def test_order_of_videos_repeated_frames_and_a_shift_of_all_change_nothing(
    seed: int, d: int, offset: float, times: int
) -> None:
    reference, new = videos(6, d, seed), videos(3, d, seed + 1, shift=0.5)
    first = compare(reference, new)
    rng = np.random.default_rng(seed)
    order, new_order = rng.permutation(6), rng.permutation(3)
    moved = [np.repeat(reference[i], times, axis=0) + offset for i in order]
    again = compare(moved, [new[i] + offset for i in new_order])
    assert again.statistic == pytest.approx(first.statistic, abs=2e-4)
    assert again.shift == pytest.approx(first.shift, abs=2e-3)
    np.testing.assert_allclose(again.unlikeness, first.unlikeness[new_order], atol=0.02)
    assert again.p == pytest.approx(first.p, abs=2 / comb(9, 3))


def test_a_clear_shift_has_the_lowest_p_there_is_and_the_videos_that_moved_stand_out() -> None:
    new = videos(4, 5, 1)
    new[1] = new[1] + 6
    new[3] = new[3] + 6
    found = compare(videos(12, 5, 0), new)
    assert set(np.argsort(found.unlikeness)[-2:]) == {1, 3}
    assert found.unlikeness[[1, 3]].min() > 4
    all_moved = compare(videos(12, 5, 0), [video + 6 for video in videos(4, 5, 1)])
    assert all_moved.p == all_moved.smallest_p == 1 / comb(16, 4)
    assert all_moved.effect > 3
    assert all_moved.shift == pytest.approx(6, rel=0.3)


def test_the_shift_of_a_score_counts_spreads_between_videos_and_has_a_sign() -> None:
    """Means 0, 2, 4 and 8, 10: spread sqrt(10/3), apart by 7, less the chance part."""
    reference = [np.full((9, 1), value) for value in (0.0, 2.0, 4.0)]
    new = [np.full((9, 1), value) for value in (8.0, 10.0)]
    expected = np.sqrt((49 - 10 / 3 * (1 / 3 + 1 / 2)) / (10 / 3))
    assert compare(reference, new).shift == pytest.approx(expected)
    assert compare(new, reference).shift == pytest.approx(-expected)


def test_videos_that_are_all_equal_have_not_drifted() -> None:
    found = compare([np.ones((5, 4))] * 6, [np.ones((3, 4))] * 3)
    assert (found.p, found.statistic, found.effect, found.shift) == (1.0, 0.0, 0.0, 0.0)
    assert found.unlikeness.tolist() == [0, 0, 0]


def test_a_change_of_spread_alone_is_found_and_is_no_shift() -> None:
    rng = np.random.default_rng(0)
    reference = [rng.normal(0, 1, (200, 2)) for _ in range(10)]
    found = compare(reference, [rng.normal(0, 2, (200, 2)) for _ in range(4)])
    assert found.p == found.smallest_p
    assert found.shift < 1


def test_videos_without_a_finite_row_are_left_out_and_not_named() -> None:
    reference, new = videos(8, 2, 0), videos(4, 2, 1, shift=1.0)
    without = compare(reference, [new[0], *new[2:]])
    new[1] = np.full((7, 2), np.nan)
    new[2] = np.insert(new[2], [0, 40], np.nan, axis=0)
    found = compare([*reference, np.empty((0, 2))], new)
    assert (found.p, found.statistic) == (without.p, without.statistic)
    assert (found.n_reference, found.n_new) == (8, 3)
    assert np.isnan(found.unlikeness).tolist() == [False, True, False, False]


def test_of_very_many_videos_only_those_drawn_are_read() -> None:
    class Archive(list[np.ndarray]):
        read: set[int]

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            self.read.add(int(index))
            return super().__getitem__(index)

    archive = Archive(videos(2000, 2, 0, frames=3))
    archive.read = set()
    found = video_permutation_mmd(
        archive, videos(400, 2, 1, frames=3), rng=np.random.default_rng(0), n_permutations=200
    )
    assert len(archive.read) == found.n_reference == found.n_new == 256
    assert np.isfinite(found.unlikeness).sum() == 256


def test_the_smallest_p_is_that_of_the_number_of_ways_or_of_exchanges() -> None:
    assert smallest_p(10, 3) == 1 / 286
    assert smallest_p(20, 6) == 1 / 20_000
    assert smallest_p(20, 6, 499) == 1 / 500
    assert smallest_p(10**6, 10**6) == 1 / 20_000
    assert smallest_p(1, 50) == smallest_p(50, 1) == 1.0


def test_too_few_videos_or_unequal_widths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two reference and two new videos.*got 5 and 1"):
        compare(videos(5, 2, 0), videos(1, 2, 1))
    with pytest.raises(ValueError, match="equally wide, got 2 and 3"):
        compare(videos(5, 2, 0), videos(4, 3, 1))
    with pytest.raises(ValueError, match="n_permutations must be at least 1, got 0"):
        video_permutation_mmd([], [], rng=np.random.default_rng(0), n_permutations=0)
