from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.special import softmax
from scipy.stats import entropy
from skimage.feature import peak_local_max

from alwatch.scores.mpe import mpe, mpe_softmax
from tests.scores.peaks_reference import plain_mpe
from tests.scores.test_peaks import spots

LN5 = math.log(5)
FIVE = ((2, 2), (2, 9), (9, 2), (9, 9), (5, 5))


def one(values: np.ndarray, **more: int) -> tuple[float, bool]:
    found = mpe(torch.from_numpy(np.asarray(values, np.float32))[None, None], **more)
    return float(found.entropy), bool(found.absent)


def published(values: np.ndarray) -> float:
    """The recipe of the study, by scikit-image and scipy."""
    cells = peak_local_max(values, min_distance=2, threshold_abs=0, num_peaks=5)
    heights = values[tuple(cells.T)].astype(np.float64)
    return float(entropy(softmax(heights))) if len(heights) else 0.0


def softmax_of(values: np.ndarray) -> float:
    return float(mpe_softmax(torch.from_numpy(np.asarray(values, np.float32))[None, None]))


def test_no_peak_is_absence_not_uncertainty() -> None:
    assert one(np.zeros((12, 12))) == (0.0, True)
    assert one(spots((3, 3, 0.05))) == (0.0, True)  # background
    assert one(spots((3, 3, 1.0)) - 2) == (0.0, True)  # all negative


@pytest.mark.parametrize("height", [0.06, 0.5, 1.0])
def test_one_peak_is_certain_however_high(height: float) -> None:
    assert one(spots((3, 3, height))) == (0.0, False)


def test_two_equal_peaks_are_ln_2_of_ln_5() -> None:
    assert one(spots((2, 2, 0.5), (9, 9, 0.5)))[0] == pytest.approx(math.log(2) / LN5)


def test_two_unequal_peaks_by_hand() -> None:
    # shares 3/4 and 1/4: H = 0.75 ln(4/3) + 0.25 ln 4 = 0.21576 + 0.34657 = 0.56234
    assert one(spots((2, 2, 0.9), (9, 9, 0.3)))[0] == pytest.approx(0.56234 / LN5, abs=1e-5)


def test_five_equal_peaks_are_the_most_there_is() -> None:
    assert one(spots(*((r, c, 0.4) for r, c in FIVE)))[0] == pytest.approx(1.0)


def test_a_plateau_is_one_peak() -> None:
    values = np.zeros((12, 12))
    values[3:9, 3:9] = 1.0
    assert one(values) == (0.0, False)


def test_a_peak_on_the_border_counts() -> None:
    assert one(spots((0, 0, 0.5), (11, 11, 0.5)))[0] == pytest.approx(math.log(2) / LN5)


def test_what_is_below_a_tenth_of_the_highest_does_not_rival_it() -> None:
    assert one(spots((2, 2, 1.0), (9, 9, 0.1)))[0] == 0
    assert one(spots((2, 2, 1.0), (9, 9, 0.11)))[0] > 0


def test_the_height_of_all_peaks_together_does_not_matter() -> None:
    peaks = spots((2, 2, 0.9), (9, 9, 0.3), (2, 9, 0.6))
    assert one(peaks)[0] == pytest.approx(one(peaks * 0.4)[0], abs=1e-6)


def test_as_many_equal_peaks_as_animals_are_no_doubt() -> None:
    three = spots(*((r, c, 0.8) for r, c in FIVE[:3]))
    assert one(three, n_expected=3)[0] == pytest.approx(0, abs=1e-6)
    assert one(three, n_expected=2)[0] == pytest.approx(
        (math.log(3) - math.log(2)) / (math.log(6) - math.log(2)), abs=1e-6
    )
    assert one(spots((2, 2, 0.8)), n_expected=3) == (0.0, False)


def test_more_peaks_than_animals_are_doubt() -> None:
    five = spots(*((r, c, 0.8) for r, c in FIVE))
    doubts = [one(five, n_expected=n)[0] for n in (1, 2, 3, 5)]
    assert doubts == sorted(doubts, reverse=True)
    assert doubts[-1] == pytest.approx(0, abs=1e-6)


def test_the_published_recipe_saturates_as_it_is_known_to() -> None:
    four_of_noise = spots((5, 5, 1.0), *((r, c, 1e-6) for r, c in FIVE[:4]))
    assert softmax_of(four_of_noise) == pytest.approx(1.500, abs=5e-4)
    noise = spots(*((r, c, 1e-6) for r, c in FIVE))
    assert softmax_of(noise) == pytest.approx(LN5, abs=1e-6)  # 1.609: absent, and the highest
    assert one(four_of_noise) == (0.0, False)
    assert one(noise) == (0.0, True)


def test_the_published_recipe_ranks_one_half_peak_above_two_and_the_corrected_does_not() -> None:
    background = [(2, 2, 1e-6), (2, 9, 1e-6), (9, 2, 1e-6), (9, 9, 1e-6)]
    one_half = spots((5, 5, 0.5), *background)
    two_halves = spots((5, 5, 0.5), (2, 2, 0.5), *background[1:])
    assert softmax_of(one_half) > softmax_of(two_halves)
    assert one(one_half)[0] < one(two_halves)[0]


@pytest.mark.parametrize("block", range(10))
def test_the_published_recipe_is_scikit_images_and_scipys_on_1000_random_maps(block: int) -> None:
    rng = np.random.default_rng(block)
    for number in range(100):
        values = rng.standard_normal(rng.integers(5, 48, 2)).astype(np.float32)
        if number % 3:
            values = 5 * gaussian_filter(values, rng.uniform(0.5, 3))
        if number % 5 == 0:
            values = np.round(values * 2) / 2
        assert softmax_of(values) == pytest.approx(published(values), abs=1e-6)


@pytest.mark.parametrize("block", range(10))
def test_the_corrected_one_is_that_of_plain_loops_on_1000_random_maps(block: int) -> None:
    rng = np.random.default_rng(100 + block)
    for number in range(100):
        values = rng.random(rng.integers(3, 20, 2)).astype(np.float32) ** 3
        if number % 2:
            values = gaussian_filter(values, 1.2)
        if number % 5 == 0:
            values = np.round(values * 4) / 4
        n_expected = 1 + number % 3
        expected = plain_mpe(values, n_expected=n_expected)
        assert one(values, n_expected=n_expected) == (pytest.approx(expected[0], abs=1e-5),
                                                      expected[1])  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_expected=st.integers(1, 4))
def test_it_lies_between_0_and_1_and_a_mirror_changes_nothing(seed: int, n_expected: int) -> None:
    maps = torch.from_numpy(np.random.default_rng(seed).random((2, 3, 11, 9), np.float32))
    found = mpe(maps, n_expected=n_expected)
    assert ((found.entropy >= 0) & (found.entropy <= 1)).all()
    mirrored = mpe(maps.flip(-1), n_expected=n_expected)
    torch.testing.assert_close(found.entropy, mirrored.entropy)


def test_maps_in_half_precision_lose_nothing_further() -> None:
    values = spots((2, 2, 0.9), (9, 9, 0.3), (2, 9, 0.6))
    maps = torch.from_numpy(values)[None, None].half()
    torch.testing.assert_close(mpe(maps).entropy, mpe(maps.float()).entropy)
    torch.testing.assert_close(mpe_softmax(maps), mpe_softmax(maps.float()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_graphics_card_gives_the_same() -> None:
    maps = torch.from_numpy(np.random.default_rng(0).random((4, 5, 40, 30), np.float32))
    on_card = mpe(maps.cuda())
    here = mpe(maps)
    torch.testing.assert_close(on_card.entropy.cpu(), here.entropy)
    assert torch.equal(on_card.absent.cpu(), here.absent)


def test_counts_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="max_peaks must be at least 2"):
        mpe(torch.zeros(1, 1, 4, 4), max_peaks=1)
