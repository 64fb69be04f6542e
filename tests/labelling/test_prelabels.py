from __future__ import annotations

from dataclasses import replace

import numpy as np

from alwatch.labelling.prelabels import (
    LIKELIHOOD_MIN,
    Group,
    PreLabel,
    groups_of,
    is_touched,
    prelabels,
)
from alwatch.records import LabelledPoint, Skeleton
from tests.labelling.image_tools import ANIMALS, DRAWN, POSE


def test_one_animal_needs_no_name() -> None:
    assert groups_of(Skeleton(("nose", "tail"))) == (Group("animal", "", ("nose", "tail")),)


def test_several_animals_have_names_and_the_scene_has_none() -> None:
    assert groups_of(ANIMALS) == (
        Group("individual1", "individual1", ("nose", "tail"), 0),
        Group("individual2", "individual2", ("nose", "tail"), 1),
        Group("scene", "", ("door",), 0, 2),
    )


def test_what_the_model_is_unsure_of_or_has_not_found_is_not_drawn() -> None:
    drawn = {
        (group.individual, point.bodypart, point.x_px, point.y_px)
        for group in groups_of(ANIMALS)
        for point in prelabels(POSE, group)
    }
    assert drawn == DRAWN


def test_the_limit_itself_is_drawn() -> None:
    group = groups_of(Skeleton(("nose",)))[0]
    pose = np.array([[[1.0, 2.0, LIKELIHOOD_MIN]]])
    assert prelabels(pose, group) == [PreLabel("nose", 1.0, 2.0, LIKELIHOOD_MIN)]
    assert prelabels(np.nextafter(pose, 0), group) == []


def test_a_frame_that_is_not_scored_has_none() -> None:
    assert prelabels(None, groups_of(ANIMALS)[0]) == []


def test_animals_that_stand_above_each_other_are_not_moved_by_rounding() -> None:
    drawn = [LabelledPoint("", "nose", 10.0004, 5.0), LabelledPoint("", "nose", 10.0001, 50.0)]
    rounded = [replace(point, x_px=10.0) for point in drawn]
    assert not is_touched(rounded, drawn)
    assert is_touched([rounded[0], rounded[0]], drawn)
    assert is_touched([rounded[0]], drawn)
    assert is_touched([rounded[0], replace(rounded[1], y_px=50.2)], drawn)
    assert is_touched([rounded[0], replace(rounded[1], bodypart="tail")], drawn)
