from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alwatch.web.queue_page import (
    MAX_DOTS,
    PageFrame,
    PagePoint,
    QueuePage,
    _clock,
    write_queue_page,
)

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """The parsed page: every tag with its attributes, the text, and whether tags pair up."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def of_class(self, name: str) -> list[dict[str, str]]:
        return [found for _, found in self.tags if name in found.get("class", "").split()]

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def make_point(frame: int, *, season: str = "2025-autumn", video: str = "a.mp4") -> PagePoint:
    return PagePoint(season, video, frame, x=float(np.cos(frame)), y=float(np.sin(2 * frame)))


def make_page(
    n_frames: int = 4, n_points: int = 30, *, video: str = "a.mp4", season: str = "2025-autumn"
) -> QueuePage:
    frames = [
        PageFrame(
            point=make_point(7 * rank, video=video, season=season),
            rank=rank,
            time_s=7 * rank / 25,
            score=1 / rank,
            reason=f"reason number {rank}",
            thumbnail=np.full((24, 32, 3), 10 * rank, np.uint8),
        )
        for rank in range(1, n_frames + 1)
    ]
    return QueuePage(
        season=season,
        frames=frames,
        points=[make_point(i, video=video, season=season) for i in range(n_points)],
        n_videos=1,
        n_frames=200,
        strategy="minmax",
        seed=7,
        embedder="hog, 128 numbers",
        software="alwatch 0.1.0",
        command="alwatch queue 2025-autumn --seed 7",
    )


def written(tmp_path: Path, page: QueuePage) -> Page:
    path = tmp_path / "queue.html"
    write_queue_page(path, page)
    return Page(path.read_text("utf-8"))


def test_the_cards_stand_in_the_order_of_their_ranks(tmp_path: Path) -> None:
    page = make_page(12)
    shuffled = replace(page, frames=[*page.frames[5:], *page.frames[:5]])
    parsed = written(tmp_path, shuffled)
    assert [card["id"] for card in parsed.of_class("card")] == [f"card-{r}" for r in range(1, 13)]
    said = [parsed.text.index(f"reason number {rank}") for rank in range(1, 10)]
    assert said == sorted(said)


def test_a_card_says_which_frame_it_is_and_why(tmp_path: Path) -> None:
    text = " ".join(written(tmp_path, make_page(2)).text.split())
    assert "a.mp4 frame 14 at 0:00.56 · score 0.5 2025-autumn reason number 2" in text


def test_the_figures_count_videos_frames_and_the_share_chosen(tmp_path: Path) -> None:
    text = " ".join(written(tmp_path, make_page(4)).text.split())
    assert "videos1 frames looked at200 frames chosen4 of the frames looked at2 %" in text


def test_every_chosen_frame_has_a_marker_that_leads_to_its_card_and_back(tmp_path: Path) -> None:
    parsed = written(tmp_path, make_page(5))
    marks = {mark["id"]: mark["href"] for mark in parsed.of_class("mark")}
    assert marks == {f"mark-{rank}": f"#card-{rank}" for rank in range(1, 6)}
    backs = [link["href"] for link in parsed.of_class("rank")]
    assert backs == [f"#mark-{rank}" for rank in range(1, 6)]


def test_frames_that_were_left_out_have_a_section_of_their_own(tmp_path: Path) -> None:
    page = make_page(2)
    odd = [
        replace(page.frames[0], point=make_point(at), rank=rank, score=at / 100, reason=f"odd {at}")
        for at, rank in ((29, 2), (90, 1))
    ]
    assert "Left out" not in written(tmp_path, page).text
    parsed = written(tmp_path, replace(page, review=odd))
    text = " ".join(parsed.text.split())
    assert text.index("reason number 2") < text.index("Left out: look at these")
    assert text.index("distance 0.9 2025-autumn odd 90") < text.index("distance 0.29")
    assert "frames chosen2 of" in text
    assert len(parsed.of_class("mark")) == 2
    labels = [dot["data-label"] for dot in parsed.named("use")]
    assert labels.count("a.mp4, frame 29") == labels.count("a.mp4, frame 90") == 1


def test_a_frame_is_on_the_map_once(tmp_path: Path) -> None:
    parsed = written(tmp_path, make_page(4, 30))  # frames 7, 14, 21 and 28 are chosen
    labels = [dot["data-label"] for dot in parsed.named("use")]
    assert labels == [f"a.mp4, frame {i}" for i in range(30) if i not in (7, 14, 21, 28)]


def test_the_same_file_name_in_another_season_is_another_frame(tmp_path: Path) -> None:
    page = make_page(1, 0)
    twin = replace(page.frames[0].point, season="2025-spring")
    assert len(written(tmp_path, replace(page, points=[twin])).named("use")) == 1


def test_seasons_differ_in_colour_and_in_shape(tmp_path: Path) -> None:
    points = [make_point(i, season=f"season {i % 8}") for i in range(40)]
    parsed = written(tmp_path, replace(make_page(0), points=points))
    colours = [group["class"] for group in parsed.of_class("dots")]
    shapes = [path["d"] for path in parsed.named("path") if path.get("id", "").startswith("shape-")]
    assert len(set(zip(colours, shapes, strict=True))) == 8
    assert len(set(colours[:6])) == len(set(shapes[:6])) == 6


def test_the_page_refers_to_nothing_outside_itself(tmp_path: Path) -> None:
    path = tmp_path / "queue.html"
    write_queue_page(path, make_page())
    html = path.read_text("utf-8")
    for _, attributes in Page(html).tags:
        for name, value in attributes.items():
            if name == "src":
                assert value.startswith("data:image/jpeg;base64,")
            elif name in ("href", "xlink:href", "action", "srcset", "poster"):
                assert value.startswith("#")
    without_pictures = re.sub(r'src="data:[^"]*"', "", html)
    for reference in ("http:", "https:", "//", "@import", "url(", "src=", "fetch(", "<link"):
        assert reference not in without_pictures, reference


def test_a_browser_is_told_to_load_nothing(tmp_path: Path) -> None:
    policy = next(m for m in written(tmp_path, make_page()).named("meta") if "http-equiv" in m)
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith("default-src 'none'; img-src data:;")


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> & co.mp4"


def test_markup_in_a_name_is_shown_and_not_run(tmp_path: Path) -> None:
    page = make_page(2, 3, video=HOSTILE, season="</style><b>" + HOSTILE)
    page = replace(page, command=HOSTILE, strategy=HOSTILE, embedder=HOSTILE, software=HOSTILE)
    page = replace(page, frames=[replace(frame, reason=HOSTILE) for frame in page.frames])
    parsed = written(tmp_path, page)
    assert len(parsed.named("script")) == 1
    assert len(parsed.named("img")) == 2
    assert not parsed.named("b")
    assert not any(name.startswith("on") for _, found in parsed.tags for name in found)
    assert parsed.text.count(HOSTILE) >= 2 + 2 + 4  # cards, reasons, provenance
    assert parsed.named("use")[0]["data-label"] == f"{HOSTILE}, frame 0"


def test_a_file_name_that_is_not_unicode_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    parsed = written(tmp_path, make_page(1, 2, video="caf\udce9.mp4", season="\ud800"))
    assert "caf\\udce9.mp4" in parsed.text


@settings(max_examples=25, deadline=None)
@given(name=st.text(st.characters(), max_size=30))
def test_any_name_makes_a_page(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    parsed = written(tmp_path_factory.mktemp("any"), make_page(1, 2, video=name, season=name))
    assert len(parsed.of_class("card")) == 1


def test_the_thumbnails_keep_their_colours_and_are_not_large(tmp_path: Path) -> None:
    page = make_page(1)
    red = np.zeros((600, 900, 3), np.uint8)
    red[..., 0] = 200
    parsed = written(tmp_path, replace(page, frames=[replace(page.frames[0], thumbnail=red)]))
    jpeg = base64.b64decode(parsed.named("img")[0]["src"].split(",")[1])
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (240, 360, 3)
    np.testing.assert_allclose(picture[120, 180], (0, 0, 200), atol=4)


def test_pictures_and_markers_have_words_for_those_who_do_not_see_them(tmp_path: Path) -> None:
    parsed = written(tmp_path, make_page(3))
    assert [i["alt"] for i in parsed.named("img")] == [f"Frame {f} of a.mp4" for f in (7, 14, 21)]
    assert all(mark["aria-label"] for mark in parsed.of_class("mark"))
    assert parsed.named("html")[0]["lang"] == "en"


def test_a_large_archive_is_thinned_evenly_and_the_page_says_so(tmp_path: Path) -> None:
    page = make_page(3, 20_000)
    path = tmp_path / "queue.html"
    write_queue_page(path, page)
    parsed = Page(path.read_text("utf-8"))
    shown = [int(dot["data-label"].split()[-1]) for dot in parsed.named("use")]
    assert len(shown) == MAX_DOTS
    assert set(np.diff(shown)) <= {4, 5, 6, 7}
    assert "shows 4,000 of the 19,997 frames" in " ".join(parsed.text.split())
    assert len(parsed.of_class("mark")) == 3
    assert path.stat().st_size < 1_000_000


def test_a_small_archive_is_not_thinned(tmp_path: Path) -> None:
    assert "To stay quick" not in written(tmp_path, make_page(1, MAX_DOTS)).text


def test_the_same_queue_makes_the_same_page(tmp_path: Path) -> None:
    write_queue_page(tmp_path / "a.html", make_page(5, 5000))
    write_queue_page(tmp_path / "b.html", make_page(5, 5000))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_queue_of_nothing_still_makes_a_page(tmp_path: Path) -> None:
    page = replace(make_page(0, 0), n_videos=0, n_frames=0)
    assert "No frame was chosen." in written(tmp_path, page).text


def test_every_marker_and_dot_lies_on_the_map(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = [PagePoint("s", "v", i, *(1e4 * rng.normal(0, [1, 9], 2))) for i in range(300)]
    parsed = written(tmp_path, replace(make_page(0), points=points))
    plot = parsed.of_class("plot")[0]
    _, _, width, height = map(float, plot["viewbox"].split())
    places = np.array([(float(dot["x"]), float(dot["y"])) for dot in parsed.named("use")])
    assert (places >= 0).all()
    assert (places <= (width, height)).all()
    # The extremes touch the same border on each side: the map is filled.
    np.testing.assert_allclose(places.min(axis=0), (28, 28), atol=0.1)
    np.testing.assert_allclose(places.max(axis=0), (width - 28, height - 28), atol=0.1)


@pytest.mark.parametrize(
    ("time_s", "shown"),
    [(0, "0:00.00"), (7.239, "0:07.24"), (59.999, "1:00.00"), (3725.5, "1:02:05.50")],
)
def test_times_read_like_a_clock(time_s: float, shown: str) -> None:
    assert _clock(time_s) == shown


def test_two_frames_of_one_rank_are_refused(tmp_path: Path) -> None:
    page = make_page(3)
    twice = [*page.frames, replace(page.frames[0], point=make_point(99))]
    with pytest.raises(ValueError, match="rank 1 is given to 2 frames"):
        write_queue_page(tmp_path / "queue.html", replace(page, frames=twice))


@pytest.mark.parametrize("shape", [(24, 32), (24, 32, 4), (0, 32, 3)])
def test_a_thumbnail_that_is_no_rgb_picture_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    page = make_page(1)
    wrong = replace(page.frames[0], thumbnail=np.zeros(shape, np.uint8))
    for frames in ({"frames": [wrong]}, {"review": [wrong]}):
        with pytest.raises(ValueError, match="thumbnail of rank 1 must be uint8"):
            write_queue_page(tmp_path / "queue.html", replace(page, **frames))


def test_a_place_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    lost = replace(make_point(3), x=float("nan"))
    with pytest.raises(ValueError, match=r"frame 3 of 'a\.mp4' is at"):
        write_queue_page(tmp_path / "queue.html", replace(make_page(0), points=[lost]))


def test_an_older_page_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "queue.html"
    path.write_text("old")
    write_queue_page(path, make_page())
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_that_cannot_be_put_in_place_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    in_the_way = tmp_path / "queue.html"
    in_the_way.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_queue_page(in_the_way, make_page())
    assert list(tmp_path.iterdir()) == [in_the_way]
