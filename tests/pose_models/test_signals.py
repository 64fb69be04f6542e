"""Signals of predictions worked out by hand."""

from __future__ import annotations

import numpy as np
import torch

from alwatch.pose_models.prediction import Prediction
from alwatch.pose_models.signals import feature_vectors, signals_of

NOT_FOUND = [np.nan] * 3


def prediction(*animals: list[list[float]], n_unique: int = 0) -> Prediction:
    """Of one frame, without maps."""
    return Prediction(maps=(), poses=np.array([animals], np.float32), n_unique=n_unique)


def test_what_the_scene_shows_does_not_make_an_animal_present() -> None:
    empty = [NOT_FOUND] * 4 + [[5, 5, 1.0]] * 4
    assert signals_of(prediction(empty, n_unique=4))["presence"] == 0
    there = [[9, 9, 0.6], [9, 9, 0.8], NOT_FOUND, NOT_FOUND] + [NOT_FOUND] * 4
    found = signals_of(prediction(there, n_unique=4))["presence"]
    np.testing.assert_allclose(found, [0.7], rtol=1e-6)  # the surer half of four


def test_presence_is_that_of_the_surest_animal_not_of_a_ghost_beside_it() -> None:
    clear, ghost = [[5, 5, 0.99]] * 8, [[9, 9, 0.3]] + [NOT_FOUND] * 7
    for animals in ((clear, ghost), (ghost, clear)):
        found = signals_of(prediction(*animals))["presence"]
        np.testing.assert_allclose(found, [0.99], rtol=1e-6)


def test_two_halves_of_different_animals_are_not_one_whole_animal() -> None:
    left, right = [[5, 5, 0.8], NOT_FOUND], [NOT_FOUND, [9, 9, 0.6]]
    found = signals_of(prediction([*left, *left], [*right, *right]))["presence"]
    np.testing.assert_allclose(found, [0.8], rtol=1e-6)


def test_of_a_model_of_the_scene_alone_the_scene_is_what_is_present() -> None:
    signals = signals_of(prediction([[5, 5, 1.0], [9, 9, 0.5]], [NOT_FOUND] * 2, n_unique=2))
    assert signals["presence"] == 1  # the surer half of two
    np.testing.assert_allclose(signals["confidence"], [[1, 0.5]])


def test_features_at_a_bodypart_are_looked_up_where_it_lies_in_what_the_maps_span() -> None:
    # Cells of 10 px over 25 px of frame: three columns, the last of which ends at 30 px. Their
    # middles, as pixels count, are at 4.5, 14.5 and 24.5; the second channel is a yardstick of 1.
    features = torch.tensor([[[[4.5, 14.5, 24.5]], [[1.0, 1.0, 1.0]]]])
    poses = np.array([[[[20.0, 4.5, 1.0]]]], np.float32)
    given = Prediction(
        maps=(),
        poses=poses,
        features=features,
        features_frame=np.array([0]),
        features_span_px=(10, 30),
    )
    vectors = feature_vectors(given, (10, 25))
    assert vectors is not None
    np.testing.assert_allclose(vectors[0, 2] / vectors[0, 3], 20, rtol=1e-5)
