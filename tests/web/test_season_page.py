from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.season_report import season_report, summary_of
from alwatch.store import Store
from alwatch.web.season_page import nice_ticks, pair_plot, series_plot, write_season_page
from tests.seasons.labs import Lab
from tests.web.test_queue_page import Page

NASTY = "<img src=x onerror=alert(1)>&\"'"


def page_of(lab: Lab, season: str, folder: Path) -> tuple[str, Page]:
    report = season_report(lab.store, season, lab.assess(season))
    file = folder / "season.html"
    write_season_page(file, report, summary_of(report))
    assert [path.name for path in folder.iterdir()] == ["season.html"]
    html = file.read_text("utf-8")
    return html, Page(html)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(Store(tmp_path / "state"))
    (tmp_path / "out").mkdir()
    return lab


def test_the_page_shows_snapshots_bodyparts_videos_and_rounds(lab: Lab, tmp_path: Path) -> None:
    a, b = lab.videos("2026", "ab")
    lab.train(4)
    lab.queue("2026", [(a, 0), (b, 0), (a, 20)], audit=2)
    lab.label((a, 0), (b, 0), (a, 20))
    lab.train(1)
    html, page = page_of(lab, "2026", tmp_path / "out")
    for text in ("snapshot-1", "snapshot-2", "nose", "tail", "a.mp4", "b.mp4", "Queue 1, stride"):
        assert text in page.text
    assert "6 → 1.5" in page.text
    assert "The later snapshot may have been trained on all of them" in page.text
    assert "uniform sampling" in page.text
    assert len(page.of_class("series")) == 2
    assert len(page.of_class("strip")) == 2 + 2 + 1
    assert "http" not in html.replace("http-equiv", "")
    assert "<script" not in html
    assert "script-src" not in html


def test_a_season_without_labels_or_model_has_a_page_too(lab: Lab, tmp_path: Path) -> None:
    lab.videos("2026", "a")
    _, page = page_of(lab, "2026", tmp_path / "out")
    assert "Nothing can be compared yet" in page.text
    assert "No queue has been made for this season." in page.text
    assert page.of_class("series") == []


def test_names_are_escaped_wherever_they_appear(lab: Lab, tmp_path: Path) -> None:
    (a,) = lab.videos(NASTY.replace("/", ""), [NASTY])
    lab.train(4)
    lab.queue(NASTY, [(a, 0)], audit=1)
    lab.label((a, 0))
    lab.train(1)
    html, page = page_of(lab, NASTY, tmp_path / "out")
    assert "<img" not in html
    assert page.named("img") == []
    assert NASTY in page.text


@given(st.floats(1e-6, 1e9))
def test_ticks_are_round_and_reach_the_largest_value(largest: float) -> None:
    ticks = nice_ticks(largest)
    assert ticks[0] == 0
    assert ticks[-1] >= largest * (1 - 1e-6)
    assert ticks[-2] < largest
    assert 3 <= len(ticks) <= 6


def test_ticks_by_hand() -> None:
    assert nice_ticks(8) == [0, 2, 4, 6, 8]
    assert nice_ticks(9) == [0, 5, 10]
    assert nice_ticks(0) == [0, 1]


def test_a_series_lies_in_its_plot_and_open_bounds_have_no_bar() -> None:
    plot = series_plot(
        [{"mean": 8.0, "low": 4.0, "high": 8.0}, None, {"mean": 2.0, "low": None, "high": None}],
        [True, False, False],
    )
    first, last = plot["marks"]
    assert (first["number"], last["number"]) == (1, 3)
    assert (first["y"], first["high"], last["low"]) == (5.0, 5.0, last["y"])
    assert first["y"] < first["low"] < last["y"] < 86
    assert [tick["label"] for tick in plot["ticks"]] == ["0", "2", "4", "6", "8"]


def test_pairs_lie_on_one_scale_and_may_lack_a_side() -> None:
    plot = pair_plot([{"a": 10.0, "b": 0.0}, {"a": None, "b": 5.0}], "a", "b")
    assert plot["top"] == "10"
    assert [(row["x_one"], row["x_other"]) for row in plot["rows"]] == [(98, 2), (None, 50)]
