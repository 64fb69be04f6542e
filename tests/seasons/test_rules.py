"""Trigger rules: golden histories worked out by hand, and what must hold for every history."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.seasons.figures import Drift, Interval, SeasonFigures
from alwatch.seasons.rules import Assessed, Fired, Rule, conditions_of, due_rules, replay

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUIET = SeasonFigures(videos=4, frames=400, labelled=0, queued=0, new_labels=0, coverage=0.5)


def day(n: float) -> datetime:
    return START + timedelta(days=n)


def labelled(n: int, *, total: int | None = None, snapshot: str = "a") -> SeasonFigures:
    return replace(QUIET, new_labels=n, labelled=n if total is None else total, snapshot=snapshot)


def wrong(low: float, *, new: int = 1, snapshot: str = "a") -> SeasonFigures:
    error = Interval(mean=low + 1, low=low, high=low + 2, frames=9, videos=4)
    return replace(labelled(new, snapshot=snapshot), error_px=error, baseline_px=4.0)


def history(*figures: SeasonFigures, season: str = "s2") -> list[Assessed]:
    return [Assessed(season, day(n), each) for n, each in enumerate(figures)]


def days_of(rules: list[Rule], past: list[Assessed], **ends: date) -> list[float]:
    return [(due.at - START).total_seconds() / 86400 for due in replay(rules, past, last_days=ends)]


LABELS = Rule("retrain", new_labels=50, cool_down_s=0)


def test_a_rule_fires_on_the_day_that_there_are_labels_enough() -> None:
    assert days_of([LABELS], history(*map(labelled, (0, 49, 50)))) == [2]


def test_labels_that_were_asked_for_do_not_count_again() -> None:
    assert days_of([LABELS], history(*map(labelled, (50, 60, 99, 100, 149, 150)))) == [0, 3, 5]


def test_labels_that_a_snapshot_set_aside_did_not_use_up_do_not_fire_again() -> None:
    # The current snapshot stays, so that 50 labels are still unknown to it.
    assert days_of([LABELS], history(labelled(50), labelled(50), labelled(51))) == [0]


def test_many_labels_at_once_fire_again_though_the_condition_never_failed_in_between() -> None:
    assert days_of([LABELS], history(labelled(50), labelled(200))) == [0, 1]


def test_labels_that_the_new_snapshot_knows_are_gone_from_the_count() -> None:
    after = labelled(10, total=60, snapshot="b")
    assert days_of([LABELS], history(labelled(50), after)) == [0]


def test_all_conditions_must_hold_or_any() -> None:
    both = Rule("r", match="all", new_labels=50, error_ratio=2.0, cool_down_s=0)
    past = history(labelled(60), replace(wrong(9, new=10), labelled=60), wrong(9, new=60))
    assert days_of([both], past) == [2]
    # With `any` the labels fire on day 0; the error by itself on day 1 does not, as nothing has
    # changed in it that the firing did not know; day 2 has only 0 labels more.
    assert days_of([replace(both, match="any")], past) == [0]


def test_the_error_counts_only_when_its_whole_interval_lies_above() -> None:
    rule = Rule("r", error_ratio=2.0)
    assert days_of([rule], history(wrong(7.9), wrong(8.0), wrong(8.1))) == [2]
    assert days_of([Rule("r", error_px=5)], history(wrong(5.0), wrong(5.1))) == [1]


def test_an_error_that_stays_high_fires_once_until_it_has_been_low() -> None:
    rule = Rule("r", error_px=5, cool_down_s=0)
    assert days_of([rule], history(wrong(6), wrong(6.5, new=9), wrong(4), wrong(6, new=9))) == [
        0,
        3,
    ]


def test_that_no_label_has_come_since_a_firing_is_not_that_its_conditions_do_not_hold() -> None:
    rule = Rule("r", error_px=5, cool_down_s=0)
    # Day 1 brings a video, day 2 a label; the error is as high as it was.
    assert days_of([rule], history(wrong(6), wrong(6), wrong(6, new=2))) == [0]


def test_labels_that_are_deleted_after_a_firing_need_not_be_made_up_for() -> None:
    past = history(
        labelled(50, total=250),
        labelled(0, total=100, snapshot="b"),  # an old project was dropped
        labelled(50, total=150, snapshot="b"),
    )
    assert days_of([LABELS], past) == [0, 2]


def test_a_dry_run_of_years_takes_seconds() -> None:
    past = [
        Assessed(f"s{n % 5}", day(n / 24), labelled(n % 60, total=n, snapshot=str(n // 500)))
        for n in range(10_000)
    ]
    started_s = time.process_time()
    assert replay([LABELS, Rule("r", error_px=5)], past, last_days={})
    assert time.process_time() - started_s < 10  # it took minutes


def test_an_error_that_a_new_snapshot_does_not_mend_fires_again() -> None:
    rule = Rule("r", error_px=5, cool_down_s=0)
    assert days_of([rule], history(wrong(6), wrong(6, new=9, snapshot="b"))) == [0, 1]


def test_nothing_fires_without_a_label_that_the_model_does_not_know() -> None:
    rule = Rule("r", error_px=5)
    assert days_of([rule], history(wrong(6, new=0))) == []


def test_drift_must_persist() -> None:
    rule = Rule("r", drift_checks=2)
    past = history(*(replace(labelled(3), drift_looks=n) for n in (0, 1, 0, 1, 2)))
    assert days_of([rule], past) == [4]


def test_a_season_has_ended_on_the_day_after_its_last() -> None:
    rule = Rule("r", season_ended=True)
    past = history(*[labelled(3)] * 6)
    assert days_of([rule], past, s2=date(2026, 3, 3)) == [2.5]  # midnight, UTC
    assert days_of([rule], past, s2=date(2026, 4, 3)) == []


def test_the_cool_down_is_the_whole_rule_s() -> None:
    rule = replace(LABELS, cool_down_s=3 * 86400)
    past = [
        *history(labelled(50)),
        Assessed("s3", day(1), labelled(50)),
        Assessed("s3", day(3), labelled(51)),
    ]
    due = replay([rule], past, last_days={})
    assert [(each.at, each.seasons) for each in due] == [(day(0), ("s2",)), (day(3), ("s3",))]


def test_a_rule_fires_no_more_often_in_a_month_than_it_may() -> None:
    rule = replace(LABELS, per_30_days_max=2)
    past = [Assessed("s2", day(n), labelled(50 * (n + 1))) for n in (0, 10, 20, 31)]
    assert days_of([rule], past) == [0, 10, 31]


def test_one_firing_names_every_season_that_asks() -> None:
    past = [*history(labelled(50)), Assessed("s1", day(0), labelled(70))]
    (due,) = due_rules([LABELS], past, [], last_days={}, now=day(0))
    assert set(due.seasons) == {"s1", "s2"}
    assert "s2: 50 new labels (of 50)" in due.reason


def test_today_and_the_dry_run_decide_alike() -> None:
    past = history(*map(labelled, (50, 60, 100)))
    fired = [Fired("retrain", day(0), {"s2": 50})]
    (due,) = due_rules([LABELS], past, fired, last_days={}, now=day(2))
    assert due == replay([LABELS], past, last_days={})[-1]


def test_what_a_condition_finds_is_said_also_where_nothing_is_known() -> None:
    rule = Rule("r", error_ratio=2, error_px=3, drift_checks=1)
    conditions = conditions_of(rule, QUIET, labelled_before=0, ended=False)
    assert [(each.name, each.holds) for each in conditions] == [
        ("error_ratio", False),
        ("error_px", False),
        ("drift_checks", False),
    ]


figures = st.builds(
    labelled, st.integers(0, 120), total=st.integers(0, 300), snapshot=st.sampled_from("ab")
)


@given(st.lists(figures, max_size=12), st.integers(1, 60), st.floats(0, 5), st.integers(1, 4))
def test_no_history_breaks_cool_down_and_rate(
    past: list[SeasonFigures], wanted: int, cool_down_days: float, most: int
) -> None:
    rule = Rule("r", new_labels=wanted, cool_down_s=cool_down_days * 86400, per_30_days_max=most)
    fired = days_of([rule], history(*past))
    assert all(b - a >= cool_down_days - 1e-9 for a, b in itertools.pairwise(fired))
    assert len(fired) <= most  # 12 days lie within one window
    assert all(past[int(n)].new_labels >= wanted for n in fired)


DRIFT = Drift("embeddings", 0.01, 0.02, 1.5, 9, 4, True, (("/a", 0.5),))


@pytest.mark.parametrize(
    "of", [wrong(3), replace(QUIET, drift=(DRIFT,), novel_videos=(("/b", 0.1),))]
)
def test_figures_come_back_from_json_as_they_were(of: SeasonFigures) -> None:
    assert SeasonFigures.from_dict(json.loads(json.dumps(of.as_dict()))) == of
