from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alwatch.errors import ExportError
from alwatch.labelling.coco import CocoFolder
from alwatch.records import LabelledFrame, Skeleton
from tests.labelling.helpers import hash_of, make_queue, read_frames
from tests.labelling.image_tools import ANIMALS, DRAWN, json_of, posed_video


@pytest.fixture
def tool(tmp_path: Path) -> CocoFolder:
    return export(tmp_path, ANIMALS)


def export(tmp_path: Path, skeleton: Skeleton) -> CocoFolder:
    video = posed_video(tmp_path / "cam.mp4")
    tool = CocoFolder(tmp_path / "out")
    tool.write_queue(make_queue(video), [video], read_frames, skeleton)
    return tool


def labelled(tool: CocoFolder, tmp_path: Path, edit: Callable[[Any], None]) -> list[LabelledFrame]:
    """What is read back after a person has edited the document."""
    folder = tmp_path / "out" / "queue-0003"
    content = json_of(folder / "annotations.json")
    edit(content)
    (folder / "labels.json").write_text(json.dumps(content))
    return tool.read_labels()


def places(label: LabelledFrame) -> set[tuple[str, str, float, float]]:
    return {(p.individual, p.bodypart, p.x_px, p.y_px) for p in label.points}


def test_the_document_is_coco_keypoints(tool: CocoFolder, tmp_path: Path) -> None:
    content = json_of(tmp_path / "out" / "queue-0003" / "annotations.json")
    name = f"cam-{hash_of(tmp_path / 'cam.mp4')[:8]}"
    assert content == {
        "info": {"description": "Poses: snapshot-7"},
        "images": [
            {"id": 1, "file_name": f"{name}_img005.png", "width": 64, "height": 48},
            {"id": 2, "file_name": f"{name}_img007.png", "width": 64, "height": 48},
        ],
        "categories": [
            {
                "id": 1,
                "name": "animal",
                "supercategory": "animal",
                "keypoints": ["nose", "tail"],
                "skeleton": [],
            },
            {
                "id": 2,
                "name": "scene",
                "supercategory": "animal",
                "keypoints": ["door"],
                "skeleton": [],
            },
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "individual": "individual1",
                "keypoints": [10.25, 20.5, 2, 30.0, 8.125, 2],
                "num_keypoints": 2,
                "bbox": [10.25, 8.125, 19.75, 12.375],
                "area": 244.406,
                "iscrowd": 0,
                "score": 0.7,
            },
            {
                "id": 2,
                "image_id": 1,
                "category_id": 1,
                "individual": "individual2",
                "keypoints": [0.0, 0.0, 0, 63.0, 47.0, 2],
                "num_keypoints": 1,
                "bbox": [63.0, 47.0, 0.0, 0.0],
                "area": 0.0,
                "iscrowd": 0,
                "score": 0.05,
            },
            {
                "id": 3,
                "image_id": 1,
                "category_id": 2,
                "individual": "",
                "keypoints": [0.0, 0.0, 2],
                "num_keypoints": 1,
                "bbox": [0.0, 0.0, 0.0, 0.0],
                "area": 0.0,
                "iscrowd": 0,
                "score": 0.8,
            },
        ],
    }


def test_the_coco_api_and_sleap_read_the_document(tool: CocoFolder, tmp_path: Path) -> None:
    file = tmp_path / "out" / "queue-0003" / "annotations.json"
    coco = pytest.importorskip("pycocotools.coco").COCO(str(file))
    assert [len(coco.getAnnIds([number])) for number in (1, 2)] == [3, 0]
    labels = pytest.importorskip("sleap_io").load_coco(str(file), dataset_root=str(file.parent))
    points = [instance.numpy().tolist() for instance in labels[0].instances]
    assert [10.25, 20.5] in points[0] and [30.0, 8.125] in points[0]


def test_a_point_that_is_moved_makes_a_label_of_all_points(
    tool: CocoFolder, tmp_path: Path
) -> None:
    def move(content: Any) -> None:
        content["annotations"][0]["keypoints"][:3] = [11.5, 20.5, 1]

    (label,) = labelled(tool, tmp_path, move)
    assert (label.frame, label.state) == (5, "labelled")
    moved = {("individual1", "nose", 11.5, 20.5)}
    assert places(label) == moved | (DRAWN - {("individual1", "nose", 10.25, 20.5)})


def test_rounding_moves_nothing(tool: CocoFolder, tmp_path: Path) -> None:
    def round_all(content: Any) -> None:
        for annotation in content["annotations"]:
            annotation["keypoints"] = [round(value, 1) for value in annotation["keypoints"]]
            del annotation["score"], annotation["individual"]

    assert labelled(tool, tmp_path, round_all) == []


def test_a_deleted_animal_makes_a_label_of_the_others(tool: CocoFolder, tmp_path: Path) -> None:
    def delete(content: Any) -> None:
        del content["annotations"][0]

    (label,) = labelled(tool, tmp_path, delete)
    assert {p.individual for p in label.points} == {"individual2", ""}


def test_an_annotation_without_a_visible_keypoint_says_that_nothing_is_there(
    tool: CocoFolder, tmp_path: Path
) -> None:
    def empty(content: Any) -> None:
        for annotation in content["annotations"]:
            annotation["keypoints"][2::3] = [0] * (len(annotation["keypoints"]) // 3)

    (label,) = labelled(tool, tmp_path, empty)
    assert (label.frame, label.state, label.points) == (5, "empty", ())


def test_an_image_without_annotations_is_not_labelled(tool: CocoFolder, tmp_path: Path) -> None:
    def clear(content: Any) -> None:
        content["annotations"] = []

    assert labelled(tool, tmp_path, clear) == []


def test_animals_without_a_name_are_named_in_order(tool: CocoFolder, tmp_path: Path) -> None:
    def relabel(content: Any) -> None:
        content["images"][1]["file_name"] = "images\\" + content["images"][1]["file_name"]
        content["categories"] = [{"id": 9, "name": "mouse", "keypoints": ["tail", "ear"]}]
        content["annotations"] = [
            {"id": 1, "image_id": 2, "category_id": 9, "keypoints": [1, 2, 2, 3, 4, 1]},
            {"id": 2, "image_id": 2, "category_id": 9, "keypoints": [5, 6, 2, 0, 0, 0]},
        ]

    (label,) = labelled(tool, tmp_path, relabel)
    assert label.frame == 7
    assert places(label) == {
        ("individual1", "tail", 1, 2),
        ("individual1", "ear", 3, 4),
        ("individual2", "tail", 5, 6),
    }


def test_the_only_animal_has_no_name(tmp_path: Path) -> None:
    def add(content: Any) -> None:
        content["annotations"] += [
            {"id": 8, "image_id": 2, "category_id": 1, "keypoints": [1, 2, 2, 3, 4, 1]}
        ]

    tool = export(tmp_path, Skeleton(("nose", "tail")))
    (label,) = labelled(tool, tmp_path, add)
    assert places(label) == {("", "nose", 1, 2), ("", "tail", 3, 4)}


def test_images_of_other_queues_are_passed_over(tool: CocoFolder, tmp_path: Path) -> None:
    def rename(content: Any) -> None:
        content["images"][0]["file_name"] = "cam-00000000_img005.png"
        content["annotations"][0]["keypoints"][0] = 1

    assert labelled(tool, tmp_path, rename) == []


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"[]",
        b'{"images": []}',
        b'{"images": [], "categories": [], "annotations": [{"category_id": 1}]}',
        b'{"images": [{"id": 1, "file_name": 5}], "categories": [], "annotations": []}',
        b'{"images": [{"id": 1, "file_name": "a"}], "categories": [{"id": 1, "name": "a", '
        b'"keypoints": ["nose"]}], "annotations": [{"id": 1, "image_id": 1, "category_id": 1, '
        b'"keypoints": [1, 2]}]}',
        b'{"images": [{"id": 1, "file_name": "a"}], "categories": [{"id": 1, "name": "a", '
        b'"keypoints": ["nose"]}], "annotations": [{"id": 1, "image_id": 1, "category_id": 1, '
        b'"keypoints": [1' + b"0" * 400 + b", 2, 2]}]}",
    ],
)
def test_a_document_that_cannot_be_read_is_reported(
    tool: CocoFolder, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "out" / "queue-0003" / "labels.json").write_bytes(content)
    with pytest.raises(ExportError, match=r"labels\.json must hold COCO keypoints") as caught:
        tool.read_labels()
    assert "\n" not in str(caught.value)
