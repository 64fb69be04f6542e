from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from alwatch.errors import ExportError
from alwatch.labelling.video_sets import add_video_sets, parse_config, remove_video_sets

BEFORE = "# mine\nTask: reach\nscorer: Ana\n"
AFTER = "\n# the parts\nbodyparts:   [nose,\n  tail]\nTrainingFraction:\n- 0.95\n"
STYLES = {
    "block": "video_sets:\n  /a/b.mp4:\n    crop: 0, 1, 0, 1",
    "block of several, with comments": (
        "video_sets:  # all\n  # first\n  /a/b.mp4:\n    crop: 0, 1, 0, 1  # ok\n"
        "  /c.mp4:\n    crop: 0, 2, 0, 2\n  # last"
    ),
    "wide indentation": "video_sets:\n      /a/b.mp4:\n          crop: 0, 1, 0, 1",
    "no indentation of the crop": "video_sets:\n /a/b.mp4: {crop: '0, 1, 0, 1'}",
    "placeholder": (
        "video_sets:\n  WILL BE AUTOMATICALLY UPDATED BY DEMO CODE:\n    crop: 0, 640, 0, 480"
    ),
    "long key": "video_sets:\n  ? /a/" + "b" * 200 + "\n  : crop: 0, 1, 0, 1",
    "windows": "video_sets:\n  C:\\Users\\Ana\\reach.avi:\n    crop: 0, 1, 0, 1",
    "quoted": "\"video_sets\":\n  '/a b: c.mp4':\n    crop: '0, 1, 0, 1'",
    "block scalar": "video_sets:\n  /a.mp4:\n    crop: >-\n      0, 1,\n      0, 1",
    "entry without a value": "video_sets:\n  /a.mp4:",
    "empty": "video_sets:",
    "empty, commented": "video_sets:   # none yet",
    "null": "video_sets: null",
    "tilde": "video_sets: ~  # none",
    "empty text": "video_sets: ''",
    "braces": "video_sets: {}",
    "braces with a space and a comment": "video_sets: { }   # none",
    "flow": "video_sets: {/a/b.mp4: {crop: '0, 1, 0, 1'}}",
    "flow over lines": "video_sets: {\n  /a/b.mp4: {crop: '0, 1, 0, 1'},\n}",
}
NEW = {"/archive/2026/cam 1.mp4": "0, 640, 0, 480", "/archive/2026/cam2.mp4": "0, 8, 0, 4"}


def without_new_lines(grown: str, line_end: str) -> str:
    """The file with the added lines taken out again, found by their content."""
    lines = grown.split(line_end)
    kept, skip = [], False
    for line in lines:
        if skip:
            skip = False
        elif "/archive/2026/" in line:
            skip = True
        else:
            kept.append(line)
    return line_end.join(kept)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("style", STYLES)
def test_videos_are_added_and_nothing_else_changes(style: str, line_end: str) -> None:
    text = (BEFORE + STYLES[style] + AFTER).replace("\n", line_end)

    grown = add_video_sets(text.encode(), NEW).decode()

    old, new = yaml.safe_load(text), yaml.safe_load(grown)
    added = {key: {"crop": crop} for key, crop in NEW.items()}
    assert new == old | {"video_sets": (old["video_sets"] or {}) | added}
    assert list(new) == list(old)
    assert grown.startswith(BEFORE.replace("\n", line_end))
    assert grown.endswith(AFTER.replace("\n", line_end))
    if line_end == "\r\n":
        assert grown.count("\n") == grown.count("\r\n")
    if old["video_sets"] and "flow" not in style:
        assert without_new_lines(grown, line_end) == text


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("style", STYLES)
def test_videos_that_were_added_are_taken_off_again(style: str, line_end: str) -> None:
    text = (BEFORE + STYLES[style] + AFTER).replace("\n", line_end).encode()
    grown = add_video_sets(text, NEW)
    less = remove_video_sets(grown, NEW)
    old = yaml.safe_load(text)
    assert yaml.safe_load(less) == old | {"video_sets": old["video_sets"] or {}}
    if old["video_sets"]:
        assert less == text
    one, other = NEW
    assert remove_video_sets(remove_video_sets(grown, [one]), [other]) == less
    assert remove_video_sets(text, NEW) == text


@pytest.mark.parametrize("style", STYLES)
def test_any_video_can_be_taken_off_and_the_others_stay(style: str) -> None:
    text = (BEFORE + STYLES[style] + AFTER).encode()
    old = yaml.safe_load(text)
    for key in old["video_sets"] or {}:
        rest = {k: v for k, v in old["video_sets"].items() if k != key}
        less = remove_video_sets(text, [key])
        assert yaml.safe_load(less) == old | {"video_sets": rest}
        assert less.startswith(BEFORE.encode())
        assert less.endswith(AFTER.encode())


def test_an_entry_that_cannot_be_cut_out_safely_stays() -> None:
    text = BEFORE + "video_sets:\n  /a.mp4: &a {crop: '0, 1'}\n  /b.mp4: *a\n"
    assert remove_video_sets(text.encode(), ["/a.mp4"]) == text.encode()


@pytest.mark.parametrize("style", STYLES)
def test_adding_one_by_one_gives_what_adding_together_gives(style: str) -> None:
    text = (BEFORE + STYLES[style] + AFTER).encode()
    one_by_one = text
    for key, crop in NEW.items():
        one_by_one = add_video_sets(one_by_one, {key: crop})
    assert yaml.safe_load(one_by_one) == yaml.safe_load(add_video_sets(text, NEW))


@pytest.mark.parametrize("style", STYLES)
def test_a_file_may_end_in_its_videos_with_or_without_a_line_end(style: str) -> None:
    for end in ("", "\n", "\n\n", "\n# end"):
        text = BEFORE + STYLES[style] + end
        grown = add_video_sets(text.encode(), NEW)
        assert set(NEW) <= set(yaml.safe_load(grown)["video_sets"])


def test_a_byte_order_mark_stays() -> None:
    text = "\ufeff" + BEFORE + STYLES["block"] + AFTER
    assert add_video_sets(text.encode(), NEW).startswith(b"\xef\xbb\xbf# mine")


PATHS = st.text(
    st.characters(
        codec="utf-8",
        exclude_categories=["Cc", "Cs", "Zl", "Zp"],
        exclude_characters="\ufffe\uffff",
    ),
    min_size=1,
)


@given(path=PATHS, style=st.sampled_from(sorted(STYLES)), repeat=st.sampled_from([1, 40, 300]))
@example(path='it\'s: "#1" {a}, [b] & *c !d %e @f `g', style="block", repeat=1)
@example(path="- ? : # | >", style="flow", repeat=1)
@example(path="日本/Mäuse\\é ", style="braces", repeat=40)
def test_any_printable_path_comes_back_as_it_was(path: str, style: str, repeat: int) -> None:
    key = "/" + path * repeat
    text = (BEFORE + STYLES[style] + AFTER).encode()
    grown = add_video_sets(text, {key: "0, 1, 0, 2"})
    assert yaml.safe_load(grown)["video_sets"][key] == {"crop": "0, 1, 0, 2"}


@pytest.mark.parametrize(
    "text",
    [
        BEFORE + "video_sets: &sets\n  /a.mp4: {crop: '0, 1'}\nother: *sets\n",
        BEFORE + "base: &base {/a.mp4: {crop: '0, 1'}}\nvideo_sets: *base\n",
        BEFORE + "base: &base {/a.mp4: {crop: '0, 1'}}\nvideo_sets:\n  <<: *base\n",
    ],
)
def test_what_cannot_be_added_to_safely_is_refused(text: str) -> None:
    with pytest.raises(ExportError, match=r"'/archive/2026/cam2\.mp4', and its video_sets"):
        add_video_sets(text.encode(), NEW)


def test_a_video_that_is_listed_is_not_added_again() -> None:
    text = BEFORE + "video_sets:\n  /archive/2026/cam2.mp4:\n    crop: 0, 1, 0, 1\n"
    with pytest.raises(ValueError, match=r"cam2\.mp4"):
        add_video_sets(text.encode(), NEW)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"Task: [", "not valid YAML"),
        (b"Task: \xff", "not valid YAML"),
        (b"", "holds no settings"),
        (b"- a", "holds no settings"),
        (b"camera_names: [a, b]", "no Task and no scorer and no video_sets"),
        (b"Task: a\nscorer: b\nvideo_sets: [a]", "video_sets is"),
        (b"!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_what_is_not_a_projects_config_is_told_apart(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_config(content)


@pytest.mark.parametrize("holder", ["video_sets", "individuals", "comment"])
def test_aliases_that_stand_for_billions_of_values_are_refused(holder: str) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    text = "\n".join(["a0: &a0 [x]", *levels, "Task: t", "scorer: s", "video_sets:", ""])
    text = text.replace("video_sets:", "video_sets: {}") + f"{holder}: *a11\n"
    with pytest.raises(ValueError, match="aliases"):
        parse_config(text.encode())


def test_a_list_that_holds_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="aliases"):
        parse_config(b"Task: t\nscorer: s\nvideo_sets:\na: &a [*a]\n")
