"""The way of a season from one state to the next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alwatch.seasons.figures import Drift, Interval, SeasonFigures
from alwatch.seasons.states import (
    Needs,
    QueueOut,
    UnderWay,
    needs_of,
    state_of,
    wants_queue,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CALM = SeasonFigures(
    videos=9, frames=900, labelled=0, queued=0, new_labels=0, coverage=0.3, snapshot="a"
)
DRIFT = Drift("embeddings", 0.001, 0.005, 2.0, 9, 6, True, (("/archive/s2/far.mp4", 0.6),))
DRIFTED = replace(CALM, drift=(DRIFT,), drift_looks=1)
STARTED = UnderWay(any_labels=True)


def needs(figures: SeasonFigures, under_way: UnderWay = STARTED, **rules: object) -> str:
    return "; ".join(needs_of(figures, under_way, Needs(**rules), NOW))  # type: ignore[arg-type]


def test_drift_is_a_need_and_names_the_video_that_drives_it() -> None:
    assert needs(DRIFTED) == "drift of embeddings (p 0.001, 2 SD, most in far.mp4)"


def test_drift_that_is_not_found_is_none() -> None:
    assert not needs(replace(CALM, drift=(replace(DRIFT, p=0.006),)))


def test_where_nothing_is_labelled_every_season_needs_labels() -> None:
    assert needs(CALM, UnderWay(any_labels=False)) == "nothing is labelled yet"
    assert not needs(replace(CALM, frames=0), UnderWay(any_labels=False))


def test_low_coverage_is_a_need_where_the_settings_say_so() -> None:
    assert not needs(CALM)
    assert "coverage 0.30" in needs(CALM, coverage_min=0.4)


@pytest.mark.parametrize(("low", "needed"), [(8.0, False), (8.1, True)])
def test_an_audited_error_surely_above_what_the_model_reaches_is_a_need(
    low: float, needed: bool
) -> None:
    error = Interval(mean=9, low=low, high=12, frames=9, videos=5)
    assert bool(needs(replace(CALM, error_px=error, baseline_px=4.0))) is needed


def test_the_schedule_asks_only_for_seasons_that_have_new_videos() -> None:
    queued = NOW - timedelta(days=30)
    newer = replace(STARTED, last_queue_at=queued, newest_video_at=queued + timedelta(days=1))
    older = replace(newer, newest_video_at=queued - timedelta(days=1))
    assert needs(CALM, newer, every_days=30)
    assert not needs(CALM, newer, every_days=31)
    assert not needs(CALM, older, every_days=30)
    assert needs(CALM, replace(STARTED, newest_video_at=NOW), every_days=30)


@pytest.mark.parametrize(
    ("state", "figures", "under_way"),
    [
        ("quiet", CALM, STARTED),
        ("needs labels", DRIFTED, STARTED),
        ("queue out", DRIFTED, replace(STARTED, queue_out=QueueOut(1, 20))),
        ("labelled", replace(DRIFTED, labelled=20, new_labels=20), STARTED),
        ("retraining asked", replace(DRIFTED, new_labels=20), replace(STARTED, asked="20 labels")),
        ("new snapshot", DRIFTED, replace(STARTED, asked="20 labels", candidate="snapshot-200")),
        ("judged", CALM, replace(STARTED, asked="x", verdict="snapshot-200 is better")),
    ],
)
def test_a_season_goes_through_its_states(
    state: str, figures: SeasonFigures, under_way: UnderWay
) -> None:
    found, reason = state_of(figures, under_way, needs_of(figures, under_way, Needs(), NOW))
    assert found == state
    assert reason


def test_without_a_pose_model_nothing_waits_for_a_training() -> None:
    figures = replace(CALM, labelled=20, new_labels=20, snapshot=None)
    assert state_of(figures, STARTED, ())[0] == "quiet"
    assert wants_queue(figures, STARTED, ("drift",), labels_wanted=1)


@pytest.mark.parametrize(
    "busy",
    [
        {"queue_out": QueueOut(1, 20)},
        {"asked": "labels"},
        {"candidate": "snapshot-200"},
        {"verdict": "better"},
    ],
)
def test_no_second_queue_while_anything_is_under_way(busy: dict[str, object]) -> None:
    assert wants_queue(DRIFTED, STARTED, ("drift",), labels_wanted=50)
    assert not wants_queue(DRIFTED, replace(STARTED, **busy), ("drift",), labels_wanted=50)  # type: ignore[arg-type]


def test_a_season_gets_queues_until_the_labels_are_enough_for_a_training() -> None:
    some = replace(DRIFTED, labelled=40, new_labels=40)
    assert wants_queue(some, STARTED, ("drift",), labels_wanted=50)
    assert not wants_queue(
        replace(some, labelled=50, new_labels=50), STARTED, ("drift",), labels_wanted=50
    )
    assert not wants_queue(CALM, STARTED, (), labels_wanted=50)


def test_labels_that_a_training_could_not_use_do_not_end_the_season_s_queues() -> None:
    # The snapshot that was trained on these 50 was set aside, so the model still needs labels.
    set_aside = replace(DRIFTED, labelled=50, new_labels=50)
    assert wants_queue(
        set_aside, replace(STARTED, labelled_before=50), ("drift",), labels_wanted=50
    )


def test_no_number_of_days_is_too_large_to_wait() -> None:
    waits = replace(STARTED, newest_video_at=NOW, last_queue_at=NOW - timedelta(days=400))
    assert needs_of(CALM, waits, Needs(every_days=399), NOW)
    assert not needs_of(CALM, waits, Needs(every_days=2**32 - 1), NOW)
