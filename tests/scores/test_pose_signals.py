"""Signals from predicted poses, against worked examples and plain loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.scores.pose_signals import (
    confidence,
    ensemble_variance,
    flipped_poses,
    pose_disagreement,
    pose_error,
    presence,
    swap_pairs,
    with_scene_apart,
)

SQUARE = [[0, 0, 1], [100, 0, 1], [0, 100, 1], [100, 100, 1]]
"""An animal with a bounding box of 100 x 100 px, so a scale of 10 px."""


def poses(*animals: list[list[float]]) -> np.ndarray:
    """One frame."""
    return np.array([animals], np.float32)


def random_poses(seed: int, shape: tuple[int, int, int], missing: float = 0.2) -> np.ndarray:
    """Animals all over a frame, some bodyparts faint and some missing."""
    rng = np.random.default_rng(seed)
    n, individuals, bodyparts = shape
    centres = rng.uniform(0, 200, (n, individuals, 1, 2))
    places = centres + rng.normal(0, 20, (n, individuals, bodyparts, 2))
    likelihood = rng.uniform(0, 1, (n, individuals, bodyparts, 1)) ** 2
    found = np.concatenate([places, likelihood], axis=3).astype(np.float32)
    found[rng.random(found.shape[:3]) < missing] = np.nan
    return found


def plain_scale(animal: np.ndarray) -> float:
    firm = [(x, y) for x, y, p in animal if np.isfinite(p) and p >= 0.1]
    if not firm:
        return 1.0
    xs, ys = zip(*firm, strict=True)
    shorter, longer = sorted([max(xs) - min(xs), max(ys) - min(ys)])
    return max(1.0, 0.1 * math.sqrt(longer * max(shorter, longer / 4)))


def plain_pair(one: np.ndarray, other: np.ndarray) -> list[float]:
    scale = max(plain_scale(one), plain_scale(other))
    result = []
    for (x, y, p), (u, v, q) in zip(one.astype(float), other.astype(float), strict=True):
        if not max(np.nan_to_num(p), np.nan_to_num(q)) >= 0.1:
            result.append(math.nan)
        elif np.isnan(p) or np.isnan(q):
            result.append(1.0)
        else:
            apart = math.hypot(x - u, y - v)
            result.append(apart / (apart + scale))
    return result


def plain_disagreement(a: np.ndarray, b: np.ndarray) -> list[list[float]]:
    """Try every matching of the animals; of the best one, the worst animal counts."""
    frames = []
    for one, other in zip(a, b, strict=True):
        matchings = [
            [plain_pair(animal, other[row]) for animal, row in zip(one, order, strict=True)]
            for order in itertools.permutations(range(len(one)))
        ]
        best = min(matchings, key=lambda pairs: float(np.nansum(pairs)))
        frames.append(
            [max((v for v in part if v == v), default=math.nan) for part in zip(*best, strict=True)]
        )
    return frames


def test_confidence_is_the_likelihood_within_0_and_1_and_0_where_nothing_was_found() -> None:
    found = poses([[1, 2, 1.3], [1, 2, 0.4], [np.nan, np.nan, np.nan], [3, 4, -0.2]])
    np.testing.assert_allclose(confidence(found), [[1, 0.4, 0, 0]])
    assert confidence(found).dtype == np.float32


def test_the_confidence_of_several_animals_is_that_of_the_worst_one_that_is_there() -> None:
    absent = [[np.nan] * 3] * 2
    sure, unsure = [[0, 0, 0.9], [1, 1, 0.8]], [[5, 5, 0.2], [np.nan] * 3]
    np.testing.assert_allclose(confidence(poses(sure, unsure, absent)), [[0.2, 0]])
    np.testing.assert_allclose(confidence(poses(absent, sure, absent)), [[0.9, 0.8]])
    np.testing.assert_allclose(confidence(poses(absent, absent)), [[0, 0]])


def test_no_individuals_give_no_confidence() -> None:
    assert confidence(np.empty((2, 0, 3, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_presence_is_the_mean_of_the_surer_half() -> None:
    found = np.array([[0.1, 0.8, 0.0, 1.0], [0.2, 0.2, 0.2, 0.2]])
    np.testing.assert_allclose(presence(found), [0.9, 0.2])
    np.testing.assert_allclose(presence(np.array([[0.6, 0.0, 0.3]])), [0.45])


def test_a_pose_moved_by_its_scale_disagrees_by_a_half() -> None:
    moved = poses(SQUARE) + np.float32([6, 8, 0])  # 10 px away, and the scale is 10 px
    found = pose_disagreement(poses(SQUARE), moved)
    np.testing.assert_allclose(found, np.full((1, 4), 0.5), rtol=1e-6)


def test_an_animal_in_line_with_an_axis_has_a_scale_too() -> None:
    line = poses([[0, 7, 1], [50, 7, 1], [100, 7, 1]])  # counts as 100 x 25 px: 5 px
    found = pose_disagreement(line, line + np.float32([0, 5, 0]))
    np.testing.assert_allclose(found, np.full((1, 3), 0.5), rtol=1e-6)


def test_a_single_bodypart_is_compared_at_a_scale_of_one_pixel() -> None:
    found = pose_disagreement(poses([[3, 3, 1]]), poses([[3, 4, 1]]))
    np.testing.assert_allclose(found, [[0.5]], rtol=1e-6)


def test_what_one_pose_only_has_disagrees_wholly_and_what_neither_has_not_at_all() -> None:
    nothing = [np.nan] * 3
    a = poses([*SQUARE, [50, 50, 0.9], nothing])
    b = poses([*SQUARE, nothing, nothing])
    np.testing.assert_array_equal(pose_disagreement(a, b), [[0, 0, 0, 0, 1, np.nan]])


def test_faint_bodyparts_are_noise_unless_the_other_pose_is_sure() -> None:
    a = poses([*SQUARE, [0, 50, 0.05], [0, 50, 0.9], [0, 50, 0.9]])
    b = poses([*SQUARE, [100, 50, 0.09], [100, 50, 0.05], [0, 50, 0.05]])
    found = pose_disagreement(a, b)[0, 4:]
    scale = 10  # of a square of 100 px
    np.testing.assert_allclose(found, [np.nan, 100 / (100 + scale), 0], atol=1e-6)


def test_faint_bodyparts_do_not_enlarge_the_animal() -> None:
    a = poses([*SQUARE, [5000, 5000, 0.05]])
    moved = a + np.float32([10, 0, 0])
    np.testing.assert_allclose(pose_disagreement(a, moved)[0, :4], 0.5, rtol=1e-6)


def test_the_animal_that_disagrees_most_counts() -> None:
    far = [[x + 1000, y, p] for x, y, p in SQUARE]
    moved = [[x + 10, y, p] for x, y, p in far]
    found = pose_disagreement(poses(SQUARE, far), poses(moved, SQUARE))
    np.testing.assert_allclose(found, np.full((1, 4), 0.5), rtol=1e-6)


def test_an_animal_too_many_disagrees_wholly() -> None:
    nobody = [[np.nan] * 3] * 4
    far = [[x + 1000, y, p] for x, y, p in SQUARE]
    assert pose_disagreement(poses(SQUARE, far), poses(nobody, SQUARE)).tolist() == [[1] * 4]


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 5))
def test_disagreement_is_that_of_plain_loops_over_all_matchings(
    seed: int, individuals: int, bodyparts: int
) -> None:
    a = random_poses(seed, (3, individuals, bodyparts))
    b = a + np.random.default_rng(seed).normal(0, 4, a.shape).astype(np.float32) * [1, 1, 0]
    b[random_poses(seed + 1, (3, individuals, bodyparts))[..., 2] > 0.8] = np.nan
    b = b[:, ::-1]
    np.testing.assert_allclose(pose_disagreement(a, b), plain_disagreement(a, b), atol=1e-5)


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_disagreement_is_mutual_and_none_with_oneself_in_any_order(
    seed: int, individuals: int
) -> None:
    a, b = (random_poses(seed + i, (2, individuals, 4)) for i in range(2))
    if individuals < 3:  # ties between matchings may otherwise be broken either way
        np.testing.assert_allclose(pose_disagreement(a, b), pose_disagreement(b, a), atol=1e-6)
    order = np.random.default_rng(seed).permutation(individuals)
    assert not np.nan_to_num(pose_disagreement(a, a[:, order])).any()


def test_long_videos_are_compared_as_short_ones() -> None:
    a, b = random_poses(0, (2500, 2, 3)), random_poses(1, (2500, 2, 3))
    whole = pose_disagreement(a, b)
    np.testing.assert_array_equal(whole[2040:2060], pose_disagreement(a[2040:2060], b[2040:2060]))


def test_no_frames_and_no_individuals_disagree_about_nothing() -> None:
    assert pose_disagreement(np.empty((0, 2, 3, 3)), np.empty((0, 2, 3, 3))).shape == (0, 3)
    assert np.isnan(pose_disagreement(np.empty((1, 0, 2, 3)), np.empty((1, 0, 2, 3)))).all()


def test_far_and_farther_are_told_apart_however_weak_the_model() -> None:
    there = poses(SQUARE)
    far = pose_disagreement(there, there + np.float32([200, 0, 0]))
    farther = pose_disagreement(there, there + np.float32([300, 0, 0]))
    assert (farther > far + 0.01).all()


def test_the_scenes_bodyparts_are_compared_apart_from_the_animals() -> None:
    """The lamp is kept with the first animal; it must not count as missing in the second."""
    lamp = [7, 7, 0.9]
    missing = [np.nan] * 3
    far = [[x + 1000, y, p] for x, y, p in SQUARE]
    both = poses([*SQUARE, lamp], [*far, missing])
    other_order = poses([*far, lamp], [*SQUARE, missing])
    assert confidence(both)[0, 4] == 0
    np.testing.assert_allclose(
        with_scene_apart(confidence, both, n_unique=1)[0], [1, 1, 1, 1, 0.9], rtol=1e-6
    )
    np.testing.assert_allclose(
        with_scene_apart(pose_disagreement, both, other_order, n_unique=1)[0], 0, atol=1e-6
    )
    np.testing.assert_array_equal(with_scene_apart(confidence, both, n_unique=0), confidence(both))


def test_ensemble_variance_is_the_mean_over_pairs_of_models() -> None:
    moved = poses(SQUARE) + np.float32([10, 0, 0])
    found = ensemble_variance(np.stack([poses(SQUARE), poses(SQUARE), moved]))
    expected = 2 / 3 * 0.5
    np.testing.assert_allclose(found, np.full((1, 4), expected), rtol=1e-6)


def test_models_that_see_nothing_agree() -> None:
    nothing = [np.nan] * 3
    one, others = poses([*SQUARE, [50, 50, 1], nothing]), poses([*SQUARE, nothing, nothing])
    found = ensemble_variance(np.stack([one, others, others]))
    np.testing.assert_allclose(found, [[0, 0, 0, 0, 2 / 3, np.nan]], rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("snout leftear rightear tailbase", [0, 2, 1, 3]),
        ("Left_Ear nose right_ear", [2, 1, 0]),
        ("head wingL wingR forelegL1 forelegR1 forelegL2", [0, 2, 1, 4, 3, 5]),
        ("l_paw r_paw ear_l ear_r eye.L eye.R", [1, 0, 3, 2, 5, 4]),
        ("lear rear earL earR L1 R1", [1, 0, 3, 2, 5, 4]),
        ("FL_paw FR_paw RL_paw RR_paw", [1, 0, 3, 2]),
        ("LF RF LR RR", [1, 0, 3, 2]),
        ("left_eye_left_corner right_eye_right_corner", [1, 0]),
        ("eyeL_l eyeR_r eyeL_r eyeR_l", [1, 0, 3, 2]),
        ("front_left_paw front_right_paw back_left_paw back_right_paw", [1, 0, 3, 2]),
        ("tail_base upper_jaw lower_jaw", [0, 1, 2]),
        ("claw craw collar", [0, 1, 2]),
        ("left_eye", [0]),
        ("", []),
    ],
)
def test_left_and_right_are_told_by_names(names: str, expected: list[int]) -> None:
    assert swap_pairs(names.split()).tolist() == expected


def test_names_that_differ_in_case_alone_still_give_mutual_pairs() -> None:
    swaps = swap_pairs(["earL", "earl", "earR"])
    assert swaps[swaps].tolist() == [0, 1, 2]


def test_a_pose_in_a_mirror() -> None:
    # Width 11: x runs 0..10. The left ear seen at 2 is the right ear at 8.
    seen = poses([[5, 1, 0.9], [2, 3, 0.8], [9, 4, 0.7]])
    found = flipped_poses(seen, 11, np.array([0, 2, 1]))
    np.testing.assert_allclose(found, poses([[5, 1, 0.9], [1, 4, 0.7], [8, 3, 0.8]]))


@given(st.integers(0, 100), st.integers(1, 2000))
def test_a_mirror_in_a_mirror_shows_the_pose_itself(seed: int, width_px: int) -> None:
    found = random_poses(seed, (2, 2, 4))
    swaps = np.array([1, 0, 2, 3])
    twice = flipped_poses(flipped_poses(found, width_px, swaps), width_px, swaps)
    np.testing.assert_allclose(twice, found, atol=1e-3)


def test_error_is_the_distance_in_pixels() -> None:
    truth = np.array([[[[0, 0], [10, 10], [np.nan, np.nan], [1, 1]]]])
    found = poses([[3, 4, 0.1], [10, 10, 1], [5, 5, 1], [np.nan] * 3])
    np.testing.assert_allclose(pose_error(found, truth), [[5, 0, np.nan, np.nan]])


def test_animals_are_matched_by_their_total_distance_and_averaged() -> None:
    truth = np.array([[[[0, 0], [10, 0]], [[100, 0], [110, 0]]]])
    found = poses([[104, 0, 1], [110, 2, 1]], [[0, 0, 1], [10, 6, 1]])
    # First bodypart: 0 and 4 px; second: 6 and 2 px.
    np.testing.assert_allclose(pose_error(found, truth), [[2, 4]])


def test_a_stray_point_does_not_stand_for_an_animal() -> None:
    nothing = [np.nan] * 3
    truth = np.array([[[[0, 0], [50, 0], [100, 0]]]])
    stray, animal = [[0, 1, 1], nothing, nothing], [[0, 5, 1], [50, 5, 1], [100, 5, 1]]
    np.testing.assert_allclose(pose_error(poses(stray, animal), truth), [[5, 5, 5]])


def test_an_exact_point_is_matched_rather_than_an_empty_slot() -> None:
    truth = np.array([[[[7, 7]]]])
    assert pose_error(poses([[np.nan] * 3], [[7, 7, 1]]), truth).tolist() == [[0]]


def test_an_animal_that_was_missed_has_no_error() -> None:
    truth = np.array([[[[0, 0]], [[500, 0]]]])
    np.testing.assert_allclose(pose_error(poses([[498, 0, 1]]), truth), [[2]])
    assert np.isnan(pose_error(poses([[np.nan] * 3]), truth)).all()
    assert np.isnan(pose_error(np.empty((1, 0, 1, 3)), truth)).all()


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 3))
def test_error_is_that_of_the_best_of_all_matchings(
    seed: int, individuals: int, labelled: int
) -> None:
    found = random_poses(seed, (2, individuals, 3), missing=0)
    truth = random_poses(seed + 1, (2, labelled, 3), missing=0)[..., :2]
    distance = np.linalg.norm(
        truth[:, :, None].astype(float) - found[:, None, ..., :2].astype(float), axis=4
    )
    size = min(individuals, labelled)
    for row in range(2):
        best = min(
            (
                distance[row, list(animals), list(order)]
                for animals in itertools.combinations(range(labelled), size)
                for order in itertools.permutations(range(individuals), size)
            ),
            key=np.sum,
        )
        np.testing.assert_allclose(pose_error(found, truth)[row], best.mean(axis=0), rtol=1e-5)


def test_wrong_shapes_are_named() -> None:
    good, truth = np.zeros((2, 1, 3, 3)), np.zeros((2, 1, 3, 2))
    with pytest.raises(ValueError, match=r"poses must have shape.*\(2, 3, 3\)"):
        confidence(good[:, 0])
    with pytest.raises(ValueError, match=r"same shape, got \(2, 1, 3, 3\) and \(1, 1, 3, 3\)"):
        pose_disagreement(good, good[:1])
    with pytest.raises(ValueError, match=r"models >= 2.*\(1, 2, 1, 3, 3\)"):
        ensemble_variance(good[None])
    with pytest.raises(ValueError, match=r"bodyparts >= 1\), got \(4, 0\)"):
        presence(np.zeros((4, 0)))
    with pytest.raises(ValueError, match=r"one partner.*\[1, 2, 0\]"):
        flipped_poses(good, 10, np.array([1, 2, 0]))
    with pytest.raises(ValueError, match=r"one partner.*\[0\]"):
        flipped_poses(good, 10, np.array([0]))
    with pytest.raises(ValueError, match=r"got \(2, 1, 3, 3\) and \(2, 1, 3, 3\)"):
        pose_error(good, good)
    with pytest.raises(ValueError, match=r"same frames and bodyparts.*\(1, 1, 3, 2\)"):
        pose_error(good, truth[:1])


def test_of_the_scene_alone_signals_are_those_of_one_animal() -> None:
    a, b = random_poses(1, (6, 2, 3)), random_poses(2, (6, 2, 3))
    for signal, seen in (
        (confidence, [a]),
        (pose_disagreement, [a, b]),
        (ensemble_variance, [np.stack([a, b])]),
    ):
        alone = [array[..., :1, :, :] for array in seen]
        np.testing.assert_array_equal(with_scene_apart(signal, *seen, n_unique=3), signal(*alone))
