"""Pose novelty: its invariances, its calibration on fresh videos, and what it finds."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from alwatch.scores.pose_novelty import PoseNovelty, published_pose_novelty

N_BODYPARTS = 8


def videos(
    seed: int, n_videos: int, n_frames: int, missing: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Animals of one kind: a shape of the kind, of each video, of each frame; moved about."""
    rng = np.random.default_rng(seed)
    kind = np.random.default_rng(7).normal(0, 3, (N_BODYPARTS, 2))
    own = rng.normal(0, 0.2, (n_videos, 1, N_BODYPARTS, 2))
    xy = kind + own + rng.normal(0, 0.3, (n_videos, n_frames, N_BODYPARTS, 2))
    xy = xy.reshape(-1, N_BODYPARTS, 2)
    angle = rng.uniform(0, 2 * np.pi, len(xy))
    size = np.exp(rng.normal(3, 0.3, len(xy)))
    xy = turned(xy, angle) * size[:, None, None] + rng.uniform(0, 500, (len(xy), 1, 2))
    poses = np.concatenate([xy, np.ones((*xy.shape[:2], 1))], axis=2)[:, None]
    poses[rng.random(poses.shape[:3]) < missing] = np.nan
    return poses.astype(np.float32), np.repeat(np.arange(n_videos), n_frames)


def turned(xy: np.ndarray, angle: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = xy[..., 0], xy[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


@pytest.fixture(scope="module")
def fitted() -> PoseNovelty:
    return PoseNovelty.fit(*videos(0, 30, 8, missing=0.02))


def test_place_direction_and_size_do_not_matter(fitted: PoseNovelty) -> None:
    poses, _ = videos(1, 5, 4, missing=0.05)
    moved = poses.copy()
    rng = np.random.default_rng(0)
    moved[:, 0, :, :2] = 3.5 * turned(poses[:, 0, :, :2], rng.uniform(0, 6, len(poses))) + 40
    one, other = fitted.score(poses), fitted.score(moved)
    np.testing.assert_allclose(one.surprise, other.surprise, rtol=2e-3)
    np.testing.assert_allclose(one.p_value, other.p_value, atol=0.01)
    np.testing.assert_allclose(one.log_scale + np.log(3.5), other.log_scale, atol=1e-3)


def test_the_scale_is_that_of_the_labelled_animals(fitted: PoseNovelty) -> None:
    poses, _ = videos(2, 200, 2)
    assert np.median(fitted.score(poses).log_scale) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize("labels_missing", [0.0, 0.1])
def test_p_values_of_fresh_videos_of_the_same_kind_are_uniform(
    missing: float, labels_missing: float
) -> None:
    found = []
    for seed in range(3):
        novelty = PoseNovelty.fit(*videos(seed, 30, 8, labels_missing))
        found.append(novelty.score(videos(100 + seed, 60, 4, missing)[0]).p_value.ravel())
    p_value = np.concatenate(found)
    p_value = p_value[np.isfinite(p_value)]
    assert len(p_value) > 500
    for level in (0.05, 0.1, 0.25, 0.5, 0.75):
        assert (p_value <= level).mean() == pytest.approx(level, abs=0.05)


def test_missing_bodyparts_do_not_make_a_pose_novel(fitted: PoseNovelty) -> None:
    poses, _ = videos(3, 60, 5)
    for n_hidden in (0, 1, 2):
        hidden = poses.copy()
        for row, frame in enumerate(hidden):
            frame[:, (row + np.arange(n_hidden)) % N_BODYPARTS, 2] = 0.6  # not above 0.6
        score = fitted.score(hidden)
        assert score.p_value.mean() == pytest.approx(0.5, abs=0.07)
        assert np.median(score.surprise) == pytest.approx(1, abs=0.15)


def test_missing_labels_hardly_change_what_is_surprising() -> None:
    labelled, video = videos(18, 30, 8)
    poses, _ = videos(19, 60, 3)
    complete = PoseNovelty.fit(labelled, video).score(poses).surprise
    lacking = np.random.default_rng(0).random(len(labelled)) < 0.6
    labelled[lacking, :, 0] = np.nan
    incomplete = PoseNovelty.fit(labelled, video).score(poses).surprise
    # Means in place of missing labels, their variance not made up for, give 0.15.
    assert np.abs(np.log(incomplete / complete)).mean() < 0.115

    smaller = labelled.copy()
    smaller[lacking, ..., :2] *= 0.2
    among_sizes = PoseNovelty.fit(smaller, video).score(poses).surprise
    np.testing.assert_allclose(among_sizes, incomplete, rtol=1e-3)


def test_impossible_poses_get_small_p_values(fitted: PoseNovelty) -> None:
    poses, _ = videos(4, 20, 2)
    swapped = poses.copy()
    swapped[:, :, [0, 3], :2] = poses[:, :, [3, 0], :2]
    collapsed = poses.copy()
    collapsed[:, :, 1] = collapsed[:, :, 3]
    for bad in (swapped, collapsed):
        score = fitted.score(bad)
        assert (score.p_value <= 0.02).mean() > 0.9
        assert np.median(score.surprise) > 3
    assert (fitted.score(poses).p_value > 0.02).mean() > 0.9


def test_surprise_is_the_mahalanobis_distance_of_centred_log_distances() -> None:
    # Two videos: each is measured by the other's mean and covariance. All bodyparts are seen.
    labelled, video = videos(5, 2, 20)
    poses, _ = videos(6, 3, 2)
    pairs = np.triu_indices(N_BODYPARTS, 1)

    def features(animals: np.ndarray) -> np.ndarray:
        xy = animals[:, 0, :, :2].astype(float)
        logs = np.log(np.linalg.norm(xy[:, :, None] - xy[:, None], axis=3)[:, *pairs])
        return logs - logs.mean(axis=1, keepdims=True)

    references, new = [], []
    for held_out in (0, 1):
        known = features(labelled[video != held_out])
        covariance = LedoitWolf().fit(known).covariance_ + 1e-6 * np.eye(28)
        # Vectors that sum to 0 have no precision along (1, ..., 1): the pseudo-inverse.
        flat = np.eye(28) - 1 / 28
        precision = np.linalg.pinv(flat @ covariance @ flat)
        for animals, into in ((labelled[video == held_out], references), (poses, new)):
            off = features(animals) - known.mean(axis=0)
            into.append(np.einsum("ij,jk,ik->i", off, precision, off))
    score = PoseNovelty.fit(labelled, video).score(poses)
    n_above = sum(
        (one >= two[:, None]).sum(axis=1) for one, two in zip(references, new, strict=True)
    )
    np.testing.assert_array_equal(score.p_value[:, 0], (1 + n_above) / 41)
    expected = np.mean(new, axis=0) / np.median(references)
    np.testing.assert_allclose(score.surprise[:, 0], expected, rtol=1e-4)


def test_animals_with_less_than_half_the_pairs_are_not_judged(fitted: PoseNovelty) -> None:
    poses, _ = videos(7, 3, 1)
    poses[0, :, :2] = np.nan  # 6 of 8 bodyparts are left: 15 of 28 pairs
    poses[1, :, :3, 2] = 0.3  # 5 of 8: 10 of 28
    poses[2, :, :, :2] = 9.0  # all in one place
    for values in fitted.score(poses):
        assert np.isfinite(values[:, 0]).tolist() == [True, False, False]


def test_every_animal_of_a_frame_is_judged_for_itself(fitted: PoseNovelty) -> None:
    poses, _ = videos(8, 2, 3)
    nobody = np.full_like(poses, np.nan)
    both = np.concatenate([poses, nobody, poses[::-1]], axis=1)
    p_value = fitted.score(both).p_value
    assert p_value.shape == (6, 3)
    np.testing.assert_array_equal(p_value[:, 0], p_value[::-1, 2])
    assert np.isnan(p_value[:, 1]).all()
    np.testing.assert_array_equal(p_value[:, :1], fitted.score(poses).p_value)


def test_a_bodypart_that_is_hardly_ever_labelled_is_left_out() -> None:
    labelled, video = videos(9, 20, 5)
    labelled[20:, :, 0] = np.nan  # labelled in 20 animals only
    fitted = PoseNovelty.fit(labelled, video)
    poses, _ = videos(10, 10, 2)
    without = poses.copy()
    without[:, :, 0] = np.nan
    np.testing.assert_array_equal(fitted.score(poses).p_value, fitted.score(without).p_value)


def test_bodyparts_never_labelled_together_do_not_keep_a_pose_from_being_judged() -> None:
    means = []
    for seed in range(8):
        labelled, video = videos(50 + seed, 20, 5)
        labelled[::2, :, 0] = np.nan
        labelled[1::2, :, 1] = np.nan
        p_value = PoseNovelty.fit(labelled, video).score(videos(150 + seed, 60, 2)[0]).p_value
        assert np.isfinite(p_value).all()
        means.append(p_value.mean())
    assert np.mean(means) == pytest.approx(0.5, abs=0.06)


def test_no_poses_are_judged_in_no_time(fitted: PoseNovelty) -> None:
    assert fitted.score(np.empty((0, 2, N_BODYPARTS, 3))).p_value.shape == (0, 2)
    assert fitted.score(np.empty((3, 0, N_BODYPARTS, 3))).p_value.shape == (3, 0)


def test_too_few_labels_are_refused_in_plain_words() -> None:
    labelled, video = videos(13, 4, 10)
    with pytest.raises(ValueError, match=r"30 or more labelled animals.* are 20, from 2\. Label"):
        PoseNovelty.fit(labelled[:20], video[:20])
    with pytest.raises(ValueError, match=r"2 or more videos; there are 40, from 1\."):
        PoseNovelty.fit(labelled, np.zeros(40, int))
    with pytest.raises(ValueError, match=r"there are 0, from 0\."):
        PoseNovelty.fit(np.full_like(labelled, np.nan), video)


def test_two_videos_without_a_common_pair_of_bodyparts_are_refused() -> None:
    labelled, video = videos(14, 2, 40)
    labelled[:40, :, 4:] = np.nan  # pairs of the first four bodyparts
    labelled[40:, :, :4] = np.nan  # pairs of the last four
    with pytest.raises(ValueError, match="same bodyparts in 2 or more videos"):
        PoseNovelty.fit(labelled, video)


def test_wrong_shapes_are_named(fitted: PoseNovelty) -> None:
    labelled, video = videos(15, 4, 10)
    with pytest.raises(ValueError, match=r"labelled must have shape.*\(40, 8, 3\)"):
        PoseNovelty.fit(labelled[:, 0], video)
    with pytest.raises(ValueError, match=r"video must have shape \(40,\).*\(39,\)"):
        PoseNovelty.fit(labelled, video[:-1])
    with pytest.raises(ValueError, match="8 bodyparts of the labelled ones, got 7"):
        fitted.score(labelled[:, :, :7])
    with pytest.raises(ValueError, match="bodyparts >= 3"):
        fitted.score(labelled[:, :, :2])


def test_the_published_distance_is_that_of_whitened_standardised_distances() -> None:
    # Three bodyparts whose pairs vary independently: all three components are kept.
    rng = np.random.default_rng(0)
    sides = rng.uniform([9, 10, 11], [12, 13, 14], (400, 3))  # distances 0-1, 0-2, 1-2
    labelled = triangles(sides)
    distance, threshold = published_pose_novelty(labelled, labelled)
    covariance = np.cov(sides.T)
    off = sides - sides.mean(axis=0)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", off, np.linalg.inv(covariance), off))
    np.testing.assert_allclose(distance[:, 0], expected, rtol=1e-3)
    assert threshold == pytest.approx(np.percentile(expected, 95), rel=1e-3)


def triangles(sides: np.ndarray) -> np.ndarray:
    """Poses of three bodyparts by their distances 0-1, 0-2, 1-2."""
    a, b, c = sides.T
    x = (a**2 + b**2 - c**2) / (2 * a)
    zero, one = np.zeros_like(a), np.ones_like(a)
    rows = [[zero, zero, one], [a, zero, one], [x, np.sqrt(b**2 - x**2), one]]
    return np.moveaxis(np.array(rows), 2, 0)[:, None]


def test_the_published_distance_finds_a_long_animal_and_wants_nine_tenths() -> None:
    labelled, _ = videos(16, 10, 10)
    labelled = np.concatenate([labelled, labelled[:, :, :3] + [5, 5, 0]], axis=2)  # 11 bodyparts
    poses = labelled[:3].copy()
    poses[0, :, 0, 2] = 0.5  # 10 of 11 visible
    poses[1, :, :2, 2] = 0.5  # 9 of 11
    poses[2, :, 0, 0] += 1000
    distance, threshold = published_pose_novelty(labelled, poses)
    assert np.isfinite(distance[:, 0]).tolist() == [True, False, True]
    assert distance[2, 0] > 2 * threshold


def test_the_published_distance_needs_labels() -> None:
    poses, _ = videos(17, 1, 3)
    with pytest.raises(ValueError, match=r"there are 1\. Label more"):
        published_pose_novelty(poses[:1], poses)
    assert np.isnan(published_pose_novelty(poses, np.full_like(poses, np.nan))[0]).all()


@pytest.mark.parametrize("side_px", [3.0, 0.1, 1e4])
def test_identical_labels_have_the_published_distance_0_and_others_theirs_in_pixels(
    side_px: float,
) -> None:
    """Seven times, so that rounding makes the mean another number than each of them."""
    labelled = triangles(np.full((7, 3), side_px)).astype(np.float32)
    other = triangles(np.array([[side_px + 2, side_px + 1, side_px + 2]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distance, threshold = published_pose_novelty(labelled, labelled)
        far, _ = published_pose_novelty(labelled, other)
    np.testing.assert_array_equal(distance, 0)
    assert threshold == 0
    np.testing.assert_allclose(far, [[3]], atol=1e-3)  # sqrt(2^2 + 1^2 + 2^2)
