from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from alwatch.errors import ExportError
from alwatch.labelling.label_studio import LabelStudioFolder
from alwatch.records import LabelledFrame, Skeleton
from tests.labelling.helpers import hash_of, make_queue, read_frames
from tests.labelling.image_tools import ANIMALS, DRAWN, json_of, ls_region, posed_video


@pytest.fixture
def tool(tmp_path: Path) -> LabelStudioFolder:
    video = posed_video(tmp_path / "cam 1.mp4")
    tool = LabelStudioFolder(tmp_path / "out")
    tool.write_queue(make_queue(video), [video], read_frames, ANIMALS)
    return tool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out" / "queue-0003"


def image(tmp_path: Path, index: int) -> str:
    return f"cam 1-{hash_of(tmp_path / 'cam 1.mp4')[:8]}_img{index:03}.png"


def put(file: Path, tasks: Any, *, at_s: int = 1) -> None:
    file.write_text(json.dumps(tasks))
    os.utime(file, (at_s, at_s))


def task(name: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"id": 1, "data": {"image": "x", "alwatch": name}, "annotations": [*annotations]}


def places(label: LabelledFrame) -> set[tuple[str, str, float, float]]:
    return {
        (p.individual, p.bodypart, round(p.x_px, 6) + 0.0, round(p.y_px, 6) + 0.0)
        for p in label.points
    }


def test_the_interface_has_one_set_of_labels_for_each_animal(
    tool: LabelStudioFolder, folder: Path
) -> None:
    root = ElementTree.parse(folder / "config.xml").getroot()
    sets = {each.attrib["name"]: each for each in root.iter("KeyPointLabels")}
    assert {name: [label.attrib["value"] for label in each] for name, each in sets.items()} == {
        "individual1": ["nose", "tail"],
        "individual2": ["nose", "tail"],
        "scene": ["door"],
    }
    assert {each.attrib["toName"] for each in sets.values()} == {"image"}
    (shown,) = root.iter("Image")
    assert (shown.attrib["name"], shown.attrib["value"]) == ("image", "$image")


def test_names_of_bodyparts_cannot_break_the_interface(tmp_path: Path) -> None:
    video = posed_video(tmp_path / "cam.mp4")
    names = ('<tail "tip">', "nose & mouth")
    LabelStudioFolder(tmp_path / "out").write_queue(
        make_queue(video), [video], read_frames, Skeleton(names)
    )
    root = ElementTree.parse(tmp_path / "out" / "queue-0003" / "config.xml").getroot()
    assert [label.attrib["value"] for label in root.iter("Label")] == [*names]


def test_a_task_names_its_image_and_predicts_in_percent(
    tool: LabelStudioFolder, folder: Path, tmp_path: Path
) -> None:
    posed, unscored = json_of(folder / "tasks.json")
    path = str(folder / image(tmp_path, 5)).lstrip("/").replace(" ", "%20")
    assert posed["data"] == {
        "image": f"/data/local-files/?d={path}",
        "alwatch": image(tmp_path, 5),
    }
    (prediction,) = posed["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("snapshot-7", 0.5625)
    assert prediction["result"][0] == {
        "id": "individual1-0",
        "from_name": "individual1",
        "to_name": "image",
        "type": "keypointlabels",
        "original_width": 64,
        "original_height": 48,
        "image_rotation": 0,
        "score": 0.9,
        # (10.25 + 0.5) / 64 and (20.5 + 0.5) / 48
        "value": {"x": 16.796875, "y": 43.75, "width": 0.75, "keypointlabels": ["nose"]},
    }
    assert [each["from_name"] for each in prediction["result"]] == [
        "individual1",
        "individual1",
        "individual2",
        "scene",
    ]
    assert "predictions" not in unscored


def test_label_studios_own_kit_accepts_the_interface_and_the_predictions(
    tool: LabelStudioFolder, folder: Path
) -> None:
    kit = pytest.importorskip("label_studio_sdk.label_interface")
    interface = kit.LabelInterface((folder / "config.xml").read_text())
    interface.validate()
    (prediction,) = json_of(folder / "tasks.json")[0]["predictions"]
    assert interface.validate_prediction(prediction, return_errors=True) == []


def test_predictions_that_are_submitted_come_back_to_where_the_model_put_them(
    tool: LabelStudioFolder, folder: Path
) -> None:
    tasks = json_of(folder / "tasks.json")
    tasks[0]["annotations"] = [{"completed_by": 1, "result": tasks[0]["predictions"][0]["result"]}]
    tasks[1]["annotations"] = []
    put(folder / "export.json", tasks)
    (label,) = tool.read_labels()
    assert (label.frame, label.state, label.labeller) == (5, "labelled", "user 1")
    assert places(label) == DRAWN


def test_the_edges_of_the_image_are_half_a_pixel_outside_the_outer_centres(
    tool: LabelStudioFolder, folder: Path, tmp_path: Path
) -> None:
    regions = [ls_region("nose", 0, 0), ls_region("tail", 100, 100)]
    put(folder / "export.json", [task(image(tmp_path, 7), {"completed_by": 1, "result": regions})])
    (label,) = tool.read_labels()
    assert places(label) == {("", "nose", -0.5, -0.5), ("", "tail", 63.5, 47.5)}


def test_skipped_empty_and_labelled_are_told_apart_and_so_are_people(
    tool: LabelStudioFolder, folder: Path, tmp_path: Path
) -> None:
    ana = {"completed_by": {"id": 1, "email": "ana@lab.org"}}
    box = {"type": "rectanglelabels", "from_name": "box", "value": {"x": 1}}
    tasks = [
        task(
            image(tmp_path, 5),
            ana | {"was_cancelled": True, "result": []},
            {"completed_by": 2, "result": [box]},
        ),
        task(image(tmp_path, 7), ana | {"result": [ls_region("nose", 1, 2)]})
        | {"drafts": [{"result": [ls_region("tail", 1, 2)]}]},
        task("somebody's.png", ana | {"result": []}),
    ]
    put(folder / "export.json", tasks)
    assert [(one.frame, one.labeller, one.state) for one in tool.read_labels()] == [
        (5, "ana@lab.org", "skipped"),
        (5, "user 2", "empty"),
        (7, "ana@lab.org", "labelled"),
    ]


def test_of_one_persons_annotations_and_of_several_exports_the_newest_counts(
    tool: LabelStudioFolder, folder: Path, tmp_path: Path
) -> None:
    def by_ben(x: float, at: str) -> dict[str, Any]:
        return {"completed_by": 2, "updated_at": at, "result": [ls_region("nose", x, 0)]}

    name = image(tmp_path, 5)
    put(folder / "a.json", [task(name, by_ben(50, "2026-01"))], at_s=1)
    put(folder / "b.json", [task(name, by_ben(0, "2026-02"), by_ben(25, "2026-03"))], at_s=2)
    put(folder / "c.json", [task(image(tmp_path, 7), by_ben(50, "2026-01"))], at_s=3)
    assert [label.points[0].x_px for label in tool.read_labels()] == [15.5, 31.5]
    assert [label.source.name for label in tool.read_labels()] == ["b.json", "c.json"]


def test_a_label_that_the_newest_export_has_no_more_is_taken_back(
    tool: LabelStudioFolder, folder: Path, tmp_path: Path
) -> None:
    """Where it has the task: an export may also hold labelled tasks only, or some of them."""
    region = {"completed_by": 2, "result": [ls_region("nose", 50, 0)]}
    tasks = [task(image(tmp_path, index), region) for index in (5, 7)]
    put(folder / "a.json", tasks, at_s=1)
    put(folder / "b.json", [task(image(tmp_path, 5))], at_s=2)
    assert [label.frame for label in tool.read_labels()] == [7]


def test_the_short_export_is_read_too(
    tool: LabelStudioFolder, folder: Path, tmp_path: Path
) -> None:
    point = {"x": 50.0, "y": 25.0, "width": 1.0, "keypointlabels": ["nose"]}
    size = {"original_width": 64, "original_height": 48}
    common = {"annotator": 1, "annotation_id": 3, "updated_at": "2026-05-01T00:00:00Z"}
    tasks = [
        {"image": "x", "alwatch": image(tmp_path, 5), "individual2": [point | size]} | common,
        {"image": f"/data/upload/1/{image(tmp_path, 7)}"} | common,
    ]
    put(folder / "export.json", tasks)
    one, two = tool.read_labels()
    assert places(one) == {("individual2", "nose", 31.5, 11.5)}
    assert (two.frame, two.state, two.labeller) == (7, "empty", "user 1")


def test_a_task_without_an_annotation_in_the_short_export_is_not_empty(
    tool: LabelStudioFolder, folder: Path, tmp_path: Path
) -> None:
    nobody = {"annotator": None, "annotation_id": None, "updated_at": None, "lead_time": None}
    put(folder / "export.json", [{"image": "x", "alwatch": image(tmp_path, 5)} | nobody])
    assert tool.read_labels() == []


def test_an_image_is_known_by_an_address_of_local_storage(
    tool: LabelStudioFolder, folder: Path, tmp_path: Path
) -> None:
    address = f"/data/local-files/?d=labels%2Fqueue-0003%2F{image(tmp_path, 5)}"
    put(folder / "export.json", [{"data": {"image": address}, "annotations": [{"result": []}]}])
    assert [(label.folder, label.frame) for label in tool.read_labels()] == [
        (image(tmp_path, 5).split("_img")[0], 5)
    ]


POINT = (
    b'[{"data": {"alwatch": "a-1_img5.png"}, "annotations": [{"result": [{"type": '
    b'"keypointlabels", "from_name": "animal", "original_width": 64, "original_height": 48, '
    b'"value": {"x": %s, "y": 1, "keypointlabels": ["nose"]}}]}]}]'
)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"{}",
        b"[1]",
        b'[{"id": 1}]',
        b'[{"data": {}, "annotations": [{}]}]',
        POINT % b"NaN",
        POINT % (b"9" * 400),
    ],
)
def test_an_export_that_cannot_be_read_is_reported(
    tool: LabelStudioFolder, folder: Path, content: bytes
) -> None:
    (folder / "export.json").write_bytes(content)
    with pytest.raises(ExportError, match=r"export\.json must be an export of") as caught:
        tool.read_labels()
    assert "\n" not in str(caught.value)
