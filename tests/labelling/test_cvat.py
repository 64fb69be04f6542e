from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from alwatch.errors import ExportError
from alwatch.labelling.cvat import CvatFolder
from alwatch.records import LabelledFrame, Skeleton
from tests.labelling.helpers import hash_of, make_queue, read_frames
from tests.labelling.image_tools import ANIMALS, DRAWN, posed_video


@pytest.fixture
def tool(tmp_path: Path) -> CvatFolder:
    video = posed_video(tmp_path / "cam.mp4")
    tool = CvatFolder(tmp_path / "out")
    tool.write_queue(make_queue(video), [video], read_frames, ANIMALS)
    return tool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out" / "queue-0003"


def export(folder: Path, *edits: tuple[str, str], name: str = "task.xml", at_s: int = 1) -> None:
    """What CVAT gives back after a person has edited what was uploaded."""
    text = (folder / "annotations.xml").read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / name).write_text(text)
    os.utime(folder / name, (at_s, at_s))


def tagged(tmp_path: Path, index: int, tag: str) -> tuple[str, str]:
    """The edit that puts a tag on an image."""
    image = f'name="cam-{hash_of(tmp_path / "cam.mp4")[:8]}_img{index:03}.png" width="64" '
    ending = 'height="48">' if index == 5 else 'height="48" />'
    tag = f'height="48"><tag label="{tag}" source="manual"></tag>'
    return image + ending, image + tag + ("" if index == 5 else "</image>")


def places(label: LabelledFrame) -> set[tuple[str, str, float, float]]:
    return {(p.individual, p.bodypart, p.x_px, p.y_px) for p in label.points}


def test_the_annotations_are_cvat_for_images(
    tool: CvatFolder, folder: Path, tmp_path: Path
) -> None:
    name = f"cam-{hash_of(tmp_path / 'cam.mp4')[:8]}"
    assert (
        (folder / "annotations.xml").read_text()
        == f"""\
<?xml version='1.0' encoding='utf-8'?>
<annotations>
  <version>1.1</version>
  <image id="0" name="{name}_img005.png" width="64" height="48">
    <skeleton label="individual1" source="auto" z_order="0">
      <points label="nose" source="auto" outside="0" occluded="0" points="10.750,21.000" />
      <points label="tail" source="auto" outside="0" occluded="0" points="30.500,8.625" />
    </skeleton>
    <skeleton label="individual2" source="auto" z_order="0">
      <points label="nose" source="auto" outside="1" occluded="0" points="63.500,47.500" />
      <points label="tail" source="auto" outside="0" occluded="0" points="63.500,47.500" />
    </skeleton>
    <skeleton label="scene" source="auto" z_order="0">
      <points label="door" source="auto" outside="0" occluded="0" points="0.500,0.500" />
    </skeleton>
  </image>
  <image id="1" name="{name}_img007.png" width="64" height="48" />
</annotations>
"""
    )


def test_the_labels_are_a_skeleton_for_each_animal_and_two_tags(
    tool: CvatFolder, folder: Path
) -> None:
    labels = json.loads((folder / "labels.json").read_bytes())
    assert [(label["name"], label["type"]) for label in labels] == [
        ("individual1", "skeleton"),
        ("individual2", "skeleton"),
        ("scene", "skeleton"),
        ("checked", "tag"),
        ("skipped", "tag"),
    ]
    assert labels[0]["sublabels"] == [
        {"name": "nose", "type": "points", "attributes": []},
        {"name": "tail", "type": "points", "attributes": []},
    ]
    circles = ElementTree.fromstring(f"<svg>{labels[0]['svg']}</svg>")
    assert [circle.attrib["data-label-name"] for circle in circles] == ["nose", "tail"]
    assert [circle.attrib["data-node-id"] for circle in circles] == ["1", "2"]
    assert all(0 < float(circle.attrib[axis]) < 100 for circle in circles for axis in ("cx", "cy"))


def test_cvats_own_kit_accepts_the_labels(tool: CvatFolder, folder: Path) -> None:
    models = pytest.importorskip("cvat_sdk.models")
    for label in json.loads((folder / "labels.json").read_bytes()):
        subs = [models.SublabelRequest(**sub) for sub in label.pop("sublabels", [])]
        assert models.PatchedLabelRequest(**label, sublabels=subs).name == label["name"]


def test_names_of_bodyparts_cannot_break_the_files(tmp_path: Path) -> None:
    video = posed_video(tmp_path / "cam.mp4")
    names = ('<tail "tip">', "nose & mouth", "door")
    skeleton = Skeleton(names, 2, 1)
    CvatFolder(tmp_path / "out").write_queue(make_queue(video), [video], read_frames, skeleton)
    folder = tmp_path / "out" / "queue-0003"
    labels = json.loads((folder / "labels.json").read_bytes())
    circles = ElementTree.fromstring(f"<svg>{labels[0]['svg']}</svg>")
    assert [circle.attrib["data-label-name"] for circle in circles] == [*names[:2]]
    root = ElementTree.parse(folder / "annotations.xml").getroot()
    assert {point.attrib["label"] for point in root.iter("points")} == {*names}


def test_what_comes_back_as_it_was_uploaded_is_no_label(tool: CvatFolder, folder: Path) -> None:
    rounded = ("30.500,8.625", "30.50,8.62")
    export(folder, rounded, ('source="auto"', 'source="file"'))
    assert tool.read_labels() == []


def test_a_point_that_is_moved_makes_a_label_of_all_points_inside(
    tool: CvatFolder, folder: Path
) -> None:
    export(folder, ("10.750,21.000", "12.00,21.50"), ('occluded="0"', 'occluded="1"'))
    (label,) = tool.read_labels()
    assert (label.frame, label.state, label.source.name) == (5, "labelled", "task.xml")
    moved = {("individual1", "nose", 11.5, 21.0)}
    assert places(label) == moved | (DRAWN - {("individual1", "nose", 10.25, 20.5)})


def test_a_tag_says_that_the_poses_are_right_as_they_are(
    tool: CvatFolder, folder: Path, tmp_path: Path
) -> None:
    export(folder, tagged(tmp_path, 5, "checked"), tagged(tmp_path, 7, "checked"))
    one, two = tool.read_labels()
    assert (one.frame, one.state) == (5, "labelled")
    assert places(one) == DRAWN
    assert (two.frame, two.state, two.points) == (7, "empty", ())


def test_a_frame_can_be_skipped(tool: CvatFolder, folder: Path, tmp_path: Path) -> None:
    export(folder, tagged(tmp_path, 5, "skipped"))
    (label,) = tool.read_labels()
    assert (label.frame, label.state, label.points) == (5, "skipped", ())


def test_skeletons_with_every_point_outside_say_that_nothing_is_there(
    tool: CvatFolder, folder: Path
) -> None:
    export(folder, *[('outside="0"', 'outside="1"')] * 4)
    (label,) = tool.read_labels()
    assert (label.frame, label.state) == (5, "empty")


def test_the_newest_export_counts_and_names_the_assignee(tool: CvatFolder, folder: Path) -> None:
    who = "<meta><job><assignee><username>ana</username></assignee></job></meta>"
    by_ana = ("<version>1.1</version>", f"<version>1.1</version>{who}")
    export(folder, by_ana, ("10.750,21.000", "12.00,21.50"), name="z.xml", at_s=1)
    export(folder, by_ana, ("10.750,21.000", "13.00,21.50"), name="b.xml", at_s=2)
    (label,) = tool.read_labels()
    assert (label.labeller, label.points[0].x_px) == ("ana", 12.5)


def test_a_label_that_a_persons_newest_export_has_no_more_is_taken_back(
    tool: CvatFolder, folder: Path
) -> None:
    moved = ("10.750,21.000", "12.00,21.50")
    assignee = "<meta><job><assignee><username>{}</username></assignee></job></meta>"
    by_ana, by_bo = (("<version>", f"{assignee.format(name)}<version>") for name in ("ana", "bo"))
    export(folder, by_ana, moved, name="a.xml", at_s=1)
    export(folder, by_bo, moved, name="b.xml", at_s=2)
    export(folder, by_ana, name="c.xml", at_s=3)
    assert [label.labeller for label in tool.read_labels()] == ["bo"]


def test_an_export_is_read_as_it_was_downloaded(tool: CvatFolder, folder: Path) -> None:
    export(folder, ("10.750,21.000", "12.00,21.50"))
    with zipfile.ZipFile(folder / "task.zip", "w") as archive:
        archive.writestr("annotations.xml", (folder / "task.xml").read_bytes())
        archive.writestr("images/other.png", b"")
    (folder / "task.xml").unlink()
    assert [label.source.name for label in tool.read_labels()] == ["task.zip"]


def test_an_export_may_take_the_place_of_what_was_uploaded(tool: CvatFolder, folder: Path) -> None:
    export(folder, ("10.750,21.000", "12.00,21.50"), name="annotations.xml")
    assert [label.frame for label in tool.read_labels()] == [5]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xml", b"<annotations>"),
        ("a.xml", b"<html></html>"),
        ("a.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>'),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>'.encode("utf-16")),
        ("a.xml", b"<annotations><image/></annotations>"),
        ("a.zip", b"PK"),
        ("a.zip", b""),
    ],
)
def test_an_export_that_cannot_be_read_is_reported(
    tool: CvatFolder, folder: Path, name: str, content: bytes
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ExportError, match=f"{name} must be an export of CVAT") as caught:
        tool.read_labels()
    assert "\n" not in str(caught.value)


def test_an_archive_without_annotations_is_reported(tool: CvatFolder, folder: Path) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("default.xml", b"")
    with pytest.raises(ExportError, match=r"a\.zip must be an export of CVAT"):
        tool.read_labels()


def test_a_damaged_archive_is_reported_however_it_is_packed(tool: CvatFolder, folder: Path) -> None:
    for packing in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(folder / "a.zip", "w", packing) as archive:
            archive.writestr("annotations.xml", b"<annotations/>" * 99)
            start = archive.getinfo("annotations.xml").header_offset + 30 + len("annotations.xml")
        content = bytearray((folder / "a.zip").read_bytes())
        content[start : start + 12] = b"\xff" * 12
        (folder / "a.zip").write_bytes(content)
        with pytest.raises(ExportError, match=r"a\.zip"):
            tool.read_labels()


@pytest.mark.parametrize("place", ["nan,5.0", "5.0,inf"])
def test_a_point_that_is_nowhere_is_reported(
    tool: CvatFolder, folder: Path, tmp_path: Path, place: str
) -> None:
    name = tagged(tmp_path, 5, "checked")[0].split('"')[1]
    (folder / "a.xml").write_text(
        f'<annotations><image name="{name}"><skeleton label="individual1">'
        f'<points label="nose" points="{place}"/></skeleton></image></annotations>'
    )
    with pytest.raises(ExportError, match=r"a\.xml must be an export of CVAT"):
        tool.read_labels()
