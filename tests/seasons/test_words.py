from __future__ import annotations

import math
from dataclasses import replace

from alwatch.seasons import Drift, Interval, SeasonFigures
from alwatch.seasons.words import drift_in_short, error_in_short, figures_in_words, look_in_words

FIGURES = SeasonFigures(4, 40, 6, 2, 5, 0.351)
ERROR = Interval(12.34, 9.0, 15.67, 7, 3)
DRIFT = Drift("embeddings", 0.002, 0.005, 3.21, 8, 4, True, (("/v/a.mp4", 2.0),))


def told(figures: SeasonFigures) -> dict[str, str]:
    return dict(figures_in_words(figures))


def test_what_is_not_known_is_said_to_be_so_with_what_it_takes() -> None:
    words = told(FIGURES)
    assert words["coverage"] == "35 % of the frames lie near a labelled frame of any season."
    assert words["error"].startswith("Not known: no random audit frame")
    assert words["uncertainty"].startswith("Not known")
    assert words["drift"].startswith("Not looked at yet")
    assert error_in_short(None) == drift_in_short(()) == "-"


def test_an_error_is_told_with_its_interval_and_the_baseline() -> None:
    words = told(replace(FIGURES, error_px=ERROR, baseline_px=6.17))
    assert words["error"] == (
        "12.3 px (90 % interval 9 to 15.7) on 7 frames of 3 videos, drawn at random, that the "
        "current snapshot was not trained on; 6.17 px on labels that it may know (2 times that)."
    )
    assert error_in_short(ERROR) == "12.3 px (9 to 15.7)"
    assert error_in_short(replace(ERROR, high=math.inf)) == "12.3 px (9 to ?)"


def test_a_look_is_told_with_what_it_was_held_against() -> None:
    assert look_in_words(DRIFT) == (
        "embeddings: drift, p 0.002 <= 0.005; the new videos lie 3.2 standard deviations between "
        "videos from the others"
    )
    few = replace(DRIFT, p=0.1, enough=False)
    assert look_in_words(few).endswith("p 0.1 > 0.005; so few videos cannot give so small a p")
    same = replace(DRIFT, effect=math.inf)
    assert look_in_words(same).endswith("videos of one kind do not differ at all")
    figures = replace(FIGURES, drift=(DRIFT,), looks=2, drift_looks=1)
    assert "2 looks so far, drift at the last one." in told(figures)["drift"]


def test_in_short_the_smallest_p_of_what_was_found_counts() -> None:
    other = replace(DRIFT, over="uncertainty", p=0.4)
    assert drift_in_short((DRIFT, other)) == "found, p 0.002"
    assert drift_in_short((replace(DRIFT, p=0.3), other)) == "none, p 0.3"


def test_figures_come_back_from_json_with_what_is_infinite() -> None:
    figures = replace(
        FIGURES,
        error_px=replace(ERROR, high=math.inf),
        drift=(replace(DRIFT, effect=math.inf), DRIFT),
        novel_videos=(("/v/b.mp4", 0.04),),
    )
    written = figures.as_dict()
    assert (written["error_px"]["high"], written["drift"][0]["effect"]) == (None, None)
    assert SeasonFigures.from_dict(written) == figures
