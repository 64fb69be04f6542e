"""Which season a video is in, from its path, its date or a table."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.season_rules import (
    SeasonRange,
    SeasonRule,
    date_in_name,
    named_group,
    recording_date,
    season_of,
)

MTIME_S = datetime(2021, 6, 15, tzinfo=UTC).timestamp()
RECORDED = datetime(2019, 3, 4, 12, tzinfo=UTC)


def season(path: str, rule: SeasonRule, recorded_at: datetime | None = None) -> str:
    return season_of(PurePath(path), rule=rule, recorded_at=recorded_at, mtime_s=MTIME_S)


def test_a_season_from_the_path_is_the_named_group() -> None:
    rule = SeasonRule(source="path", pattern=re.compile(r"(^|/)season-(?P<season>\w+)/"))
    assert season("season-a/cage/m.mp4", rule) == "a"
    assert season("cage/season-b/m.mp4", rule) == "b"
    assert season("cage/m.mp4", rule) == "unassigned"


def test_a_named_group_that_took_no_part_in_the_match_gives_no_season() -> None:
    rule = SeasonRule(source="path", pattern=re.compile(r"x(?P<season>\d+)?"), otherwise="rest")
    assert season("x.mp4", rule) == "rest"


def test_a_path_rule_without_the_group_is_refused() -> None:
    for pattern in (None, re.compile("(.)")):
        with pytest.raises(ValueError, match="named `season`"):
            SeasonRule(source="path", pattern=pattern)


def test_an_individual_is_what_its_named_group_finds_in_the_path() -> None:
    pattern = re.compile(r"/(?P<individual>mouse\d+)?_")
    assert named_group(PurePath("2025/mouse07_a.mp4"), pattern, "individual") == "mouse07"
    assert named_group(PurePath("2025/_a.mp4"), pattern, "individual") is None
    assert named_group(PurePath("2025/a.mp4"), pattern, "individual") is None
    nothing = re.compile("(?P<individual>x*)")
    assert named_group(PurePath("2025/a.mp4"), nothing, "individual") is None


def test_of_a_mapping_the_first_pattern_that_fits_decides() -> None:
    rule = SeasonRule(
        source="mapping", mapping=(("cage-a/*", "a"), ("*/night/*", "n"), ("*.avi", "old"))
    )
    assert season("cage-a/night/m.mp4", rule) == "a"
    assert season("cage-b/night/m.mp4", rule) == "n"
    assert season("cage-b/day/m.avi", rule) == "old"
    assert season("Cage-A/m.mp4", rule) == "unassigned"


def test_without_ranges_the_calendar_year_is_the_season() -> None:
    assert season("m.mp4", SeasonRule(), RECORDED) == "2019"
    assert season("m.mp4", SeasonRule()) == "2021"


def test_ranges_include_their_first_and_last_day() -> None:
    ranges = (
        SeasonRange("spring", date(2019, 3, 1), date(2019, 5, 31)),
        SeasonRange("summer", date(2019, 6, 1), date(2019, 8, 31)),
    )
    rule = SeasonRule(ranges=ranges, otherwise="none")
    days = {
        "2019-02-28": "none",
        "2019-03-01": "spring",
        "2019-05-31": "spring",
        "2019-06-01": "summer",
        "2019-09-01": "none",
    }
    assert {day: season(f"{day}.mp4", rule) for day in days} == days


def test_the_container_counts_before_the_name_and_the_name_before_the_mtime() -> None:
    def day(name: str, recorded_at: datetime | None) -> date | None:
        return recording_date(name, recorded_at=recorded_at, mtime_s=MTIME_S)

    assert day("m-2018-10-30.mp4", RECORDED) == date(2019, 3, 4)
    assert day("m-2018-10-30.mp4", None) == date(2018, 10, 30)
    assert day("m.mp4", None) == date(2021, 6, 15)


@pytest.mark.parametrize(
    "unset",
    [
        datetime(1904, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=9))),
        datetime(1970, 1, 3),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=9))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-9))),
    ],
)
def test_a_clock_that_was_never_set_does_not_count(unset: datetime) -> None:
    assert season("m-2018-10-30.mp4", SeasonRule(), unset) == "2018"


@pytest.mark.parametrize("mtime_s", [0.0, -1e18, 1e18, float("nan"), float("inf")])
def test_a_video_without_any_date_fits_nowhere(mtime_s: float) -> None:
    found = season_of(PurePath("m.mp4"), rule=SeasonRule(), recorded_at=None, mtime_s=mtime_s)
    assert found == "unassigned"


def test_days_are_counted_in_utc() -> None:
    tokyo = datetime(2019, 1, 1, 8, tzinfo=timezone(timedelta(hours=9)))
    assert season("m.mp4", SeasonRule(), tokyo) == "2018"
    assert season("m.mp4", SeasonRule(), tokyo.replace(tzinfo=None)) == "2019"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("openfield-Pranav-2018-10-30.avi", "2018-10-30"),
        ("m3_2018_10_30_cam1.mp4", "2018-10-30"),
        ("2018.10.30.mp4", "2018-10-30"),
        ("20181030.mp4", "2018-10-30"),
        ("VID_20181030_101530.mp4", "2018-10-30"),
        ("20181030T101530Z.mp4", "2018-10-30"),
        ("20181030101530.mp4", "2018-10-30"),
        ("201810301015.mp4", "2018-10-30"),
        ("2018-10-30 10-15-30.mkv", "2018-10-30"),
        ("cam0120-30-10-2018.mp4", "2018-10-30"),
        ("30-10-2018.mp4", "2018-10-30"),
        ("10-30-2018.mp4", "2018-10-30"),
        ("30.10.2018.mp4", "2018-10-30"),
        ("05-05-2018.mp4", "2018-05-05"),
        ("mouse20181030x.mp4", "2018-10-30"),
        ("20181301_20181030.mp4", "2018-10-30"),
        ("2018-10-30_to_2018-11-02.mp4", "2018-10-30"),
        ("2020-02-29.mp4", "2020-02-29"),
        ("m3_05-03-2018.mp4", None),
        ("2019-02-29.mp4", None),
        ("2018-1-3.mp4", None),
        ("2018-10_30.mp4", None),
        ("1989-10-30.mp4", None),
        ("2101-10-30.mp4", None),
        ("120181030.mp4", None),
        ("201810301.mp4", None),
        ("20181030996030.mp4", None),
        ("201810301015301.mp4", None),
        ("m3v1mp4.mp4", None),
        ("", None),
    ],
)
def test_dates_in_file_names(name: str, found: str | None) -> None:
    assert date_in_name(name) == (found and date.fromisoformat(found))


days = st.dates(date(1990, 1, 1), date(2100, 12, 31))


@given(days, st.sampled_from(["%Y-%m-%d", "%Y_%m_%d", "%Y%m%d", "%Y%m%d%H%M%S"]))
def test_every_day_is_found_in_every_year_first_format(day: date, form: str) -> None:
    text = datetime(day.year, day.month, day.day, 23, 59, 7).strftime(form)
    assert date_in_name(f"cam_{text}-x.mp4") == day


@given(days)
def test_a_year_last_date_is_read_rightly_or_not_at_all(day: date) -> None:
    assert date_in_name(day.strftime("%d-%m-%Y")) in (day, None)
    assert date_in_name(day.strftime("%m-%d-%Y")) in (day, None)
    if day.day > 12 or day.day == day.month:
        assert date_in_name(day.strftime("%d-%m-%Y")) == day


@given(st.text(max_size=60) | st.text("0123456789-_.", max_size=40))
def test_any_name_has_a_plausible_date_or_none(name: str) -> None:
    found = date_in_name(name)
    assert found is None or 1990 <= found.year <= 2100
