"""Pre-labels are what the installed DeepLabCut and its labelling GUI read, and go on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pandas as pd
import pytest

from alwatch.labelling.deeplabcut import DeepLabCutProject
from alwatch.records import LabelledPoint, QueuedVideo, Skeleton
from tests.labelling.helpers import (
    CONFIG,
    SKELETON,
    make_project,
    make_queue,
    make_video,
    read_frames,
    with_poses,
)
from tests.labelling.label_files import KEY, NAN

MULTI_CONFIG = CONFIG.replace("multianimalproject: false", "multianimalproject: true").replace(
    "bodyparts:\n- nose   # a person's comment\n- tail\n",
    "bodyparts: MULTI!\nindividuals:\n- m1\n- m2\nmultianimalbodyparts:\n- nose\n- tail\n- ear\n"
    "uniquebodyparts:\n- box\n",
)
MULTI_SKELETON = Skeleton(("tail", "nose", "box"), n_individuals=2, n_unique=1, source="net")
TWO_MICE = np.array(
    [[[4, 5, 0.9], [6, 7, 0.8], [8, 9, 0.7]], [[14, 15, 0.9], [16, 17, 0.01], [NAN, NAN, NAN]]],
    np.float32,
)


def export(config: Path, video: QueuedVideo, skeleton: Skeleton = SKELETON, id: int = 3) -> Path:
    tool = DeepLabCutProject(config)
    exported = tool.write_queue(make_queue(video, id=id), [video], read_frames, skeleton)
    return config.parent / "labeled-data" / exported.folders[0][0]


def correct(folder: Path, scorer: str = "Ana") -> pd.DataFrame:
    """Save pre-labels as labels, as the GUI does, moved by a pixel."""
    file = next(iter(folder.glob("machinelabels-iter*.h5")))
    table = pd.read_hdf(file, KEY)
    assert isinstance(table, pd.DataFrame)
    table = table.drop(columns="likelihood", level="coords", errors="ignore") + 1
    table = table.rename(columns=dict.fromkeys(table.columns.levels[0], scorer), level="scorer")
    table.to_hdf(folder / f"CollectedData_{scorer}.h5", key=KEY, mode="w")
    table.to_csv(folder / f"CollectedData_{scorer}.csv")
    return table


def a_video(path: Path, frames: tuple[int, ...]) -> QueuedVideo:
    """A queued video that DeepLabCut can open."""
    path.parent.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for index in range(60):
        writer.write(np.full((48, 64, 3), 4 * index, np.uint8))
    writer.release()
    return make_video(path, frames, n_frames=60)


# --- DeepLabCut ---------------------------------------------------------------------------------


def test_corrected_pre_labels_are_checked_merged_and_trained_on(
    deeplabcut: ModuleType, tmp_path: Path
) -> None:
    config = make_project(tmp_path / "project")
    folder = export(config, with_poses(make_video(tmp_path / "cam.mp4", (0, 5, 41))))
    old = export(
        config, with_poses(make_video(config.parent / "videos" / "old.avi", (7, 12))), id=4
    )
    for each in (folder, old):
        correct(each)
    deeplabcut.check_labels(str(config))
    assert len(list((config.parent / "labeled-data" / "cam_labeled").glob("*.png"))) == 3
    deeplabcut.merge_datasets(str(config))
    assert deeplabcut.auxiliaryfunctions.read_config(str(config))["iteration"] == 1
    deeplabcut.create_training_dataset(str(config), net_type="resnet_50", userfeedback=False)
    merged = next((config.parent / "training-datasets" / "iteration-1").rglob("CollectedData*.h5"))
    assert pd.read_hdf(merged).notna().all(axis=1).sum() == 5

    labels = DeepLabCutProject(config).read_labels()
    assert [(x.folder, x.frame, x.labeller) for x in labels] == [
        *(("cam", frame, "Ana") for frame in (0, 5, 41)),
        *(("old", frame, "Ana") for frame in (7, 12)),
    ]
    assert labels[1].points == (
        LabelledPoint("", "nose", 6.5, 8.0),
        LabelledPoint("", "tail", 21.0, 6.0),
    )
    export(config, with_poses(make_video(tmp_path / "cam.mp4", (5, 6))), id=5)
    table = pd.read_hdf(folder / "machinelabels-iter1.h5", KEY)
    shown = table.index[table.notna().any(axis=1)]
    assert [row[-1] for row in shown] == ["img006.png"]  # 5 is labelled
    assert len(table) == 4


def test_two_animals_and_the_scenes_bodyparts_are_trained_on(
    deeplabcut: ModuleType, tmp_path: Path
) -> None:
    config = make_project(tmp_path / "project", MULTI_CONFIG)
    video = make_video(tmp_path / "cam.mp4", (0, 5, 41, 50))
    video = replace(video, poses={frame.frame: TWO_MICE for frame in video.frames})
    folder = export(config, video, MULTI_SKELETON)
    table = pd.read_hdf(folder / "machinelabels-iter0.h5", KEY)
    assert table.columns.names == ["scorer", "individuals", "bodyparts", "coords"]
    assert table.iloc[0].dropna().round(3).to_dict() == {
        ("Ana", "m1", "tail", "x"): 4, ("Ana", "m1", "tail", "y"): 5,
        ("Ana", "m1", "nose", "x"): 6, ("Ana", "m1", "nose", "y"): 7,
        ("Ana", "m2", "tail", "x"): 14, ("Ana", "m2", "tail", "y"): 15,
        ("Ana", "single", "box", "x"): 8, ("Ana", "single", "box", "y"): 9,
    }  # fmt: skip
    correct(folder)
    deeplabcut.check_labels(str(config))
    deeplabcut.create_training_dataset(str(config), net_type="dlcrnet_ms5", userfeedback=False)
    merged = next((config.parent / "training-datasets").rglob("CollectedData*.h5"))
    assert len(pd.read_hdf(merged)) == 4
    (label, *_) = DeepLabCutProject(config).read_labels()
    assert {(p.individual, p.bodypart) for p in label.points} == {
        *(("m1", "tail"), ("m1", "nose"), ("m2", "tail"), ("", "box")),
    }


def test_a_withdrawn_queue_that_the_gui_has_saved_unlabelled_leaves_a_project_that_trains(
    deeplabcut: ModuleType, tmp_path: Path
) -> None:
    config = make_project(tmp_path / "project")
    first = with_poses(make_video(tmp_path / "cam.mp4", (0, 1, 2)))
    folder = export(config, first)
    video = with_poses(make_video(tmp_path / "cam.mp4", (5, 41)))
    export(config, video, id=4)
    table = correct(folder)
    labels = folder / "CollectedData_Ana.h5"
    table.loc[[row for row in table.index if row[-1] in ("img005.png", "img041.png")]] = NAN
    table.to_hdf(labels, key=KEY, mode="w")
    table.to_csv(labels.with_suffix(".csv"))
    assert DeepLabCutProject(config).withdraw_queue(make_queue(video, id=4), [video]) == 0
    deeplabcut.create_training_dataset(str(config), net_type="resnet_50", userfeedback=False)

    (folder / "img005.png").unlink()  # why these images stay
    (folder / "img041.png").unlink()
    manipulation = deeplabcut.generate_training_dataset.trainingsetmanipulation
    manipulation.read_image_shape_fast.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"img0..\.png"):
        deeplabcut.create_training_dataset(
            str(config), Shuffles=[2], net_type="resnet_50", userfeedback=False
        )


@pytest.mark.parametrize("first", ["alwatch", "DeepLabCut"])
def test_outlier_frames_of_deeplabcut_and_a_queue_share_the_pre_labels(
    deeplabcut: ModuleType, tmp_path: Path, first: str
) -> None:
    config = make_project(tmp_path / "project")
    video = with_poses(a_video(config.parent / "videos" / "cam.avi", (5, 41)))

    def extract_outliers() -> None:
        from deeplabcut.refine_training_dataset import outlier_frames

        cfg = deeplabcut.auxiliaryfunctions.read_config(str(config))
        cfg["numframes2pick"] = 2
        columns = pd.MultiIndex.from_product(
            [["DLC_net"], ["nose", "tail"], ["x", "y", "likelihood"]],
            names=["scorer", "bodyparts", "coords"],
        )
        data = pd.DataFrame(np.full((60, 6), 0.5), columns=columns)
        outlier_frames.ExtractFramesbasedonPreselection(
            *([9, 41], "uniform", data, str(video.path), cfg, str(config)),
            opencv=True,
            savelabeled=False,
        )

    steps = [lambda: export(config, video), extract_outliers]
    for step in steps if first == "alwatch" else reversed(steps):
        step()
    folder = config.parent / "labeled-data" / "cam"
    table = pd.read_hdf(folder / "machinelabels-iter0.h5", KEY)
    by_image = {row[-1]: set(values.dropna()) for row, values in table.iterrows()}
    theirs = {0.5}
    assert by_image["img05.png"] == {5.5, 7, 20, 5, float(np.float32(0.9))}
    assert by_image["img09.png"] == theirs
    assert by_image["img41.png"] == (
        {41.5, 7, 20, 1, float(np.float32(0.9))} if first == "alwatch" else theirs
    )
    queue = make_queue(video)
    assert DeepLabCutProject(config).withdraw_queue(queue, [video]) == (
        2 if first == "alwatch" else 1
    )
    table = pd.read_hdf(folder / "machinelabels-iter0.h5", KEY)
    left = {row[-1] for row, values in table.iterrows() if values.notna().any()}
    assert left == ({"img09.png"} if first == "alwatch" else {"img09.png", "img41.png"})
    assert {path.name for path in folder.glob("*.png")} == left


# --- the labelling GUI --------------------------------------------------------------------------


def layers_of(folder: Path) -> dict[str, tuple[np.ndarray, dict]]:
    reader = pytest.importorskip("napari_deeplabcut._reader")
    return {
        f"{kind} {attributes['name']}": (data, attributes)
        for data, attributes, kind in reader.get_folder_parser(str(folder))(str(folder))
    }


def points_shown(data: np.ndarray, attributes: dict) -> dict[tuple[str, str, str], list[float]]:
    """x and y by image, individual and bodypart."""
    images = [Path(path).name for path in attributes["metadata"]["paths"]]
    properties = attributes["properties"]
    names = zip(properties["id"], properties["label"], strict=True)
    return {
        (images[int(image)], individual, part): [float(x), float(y)]
        for (image, y, x), (individual, part) in zip(data, names, strict=True)
    }


def test_the_gui_shows_the_poses_on_the_right_images(tmp_path: Path) -> None:
    config = make_project(tmp_path / "project")
    video = with_poses(make_video(config.parent / "videos" / "old.avi", (12, 5)))
    folder = export(config, replace(video, poses={12: video.poses[12]}))
    layers = layers_of(folder)
    assert set(layers) == {"image images", "points machinelabels-iter0"}
    images, image_attributes = layers["image images"]
    shown = [Path(path).name for path in image_attributes["metadata"]["paths"]]
    assert shown == ["img003.png", "img005.png", "img007.png", "img012.png"]
    assert images.shape == (4, 48, 64, 3)
    data, attributes = layers["points machinelabels-iter0"]
    assert [Path(path).name for path in attributes["metadata"]["paths"]] == shown
    assert points_shown(data, attributes) == {
        ("img012.png", "", "nose"): [12.5, 7],
        ("img012.png", "", "tail"): [20, 12],
    }
    assert attributes["metadata"]["header"].bodyparts == ["nose", "tail"]


def test_the_gui_shows_two_animals_and_the_scene(tmp_path: Path) -> None:
    config = make_project(tmp_path / "project", MULTI_CONFIG)
    video = make_video(tmp_path / "cam.mp4", (5,))
    folder = export(config, replace(video, poses={5: TWO_MICE}), MULTI_SKELETON)
    data, attributes = layers_of(folder)["points machinelabels-iter0"]
    assert points_shown(data, attributes) == {
        ("img005.png", "m1", "nose"): [6, 7],
        ("img005.png", "m1", "tail"): [4, 5],
        ("img005.png", "m2", "tail"): [14, 15],
        ("img005.png", "single", "box"): [8, 9],
    }
    assert attributes["metadata"]["header"].bodyparts == ["nose", "tail", "ear", "box"]


def test_what_the_gui_saves_comes_back_as_labels(tmp_path: Path) -> None:
    writer = pytest.importorskip("napari_deeplabcut.core.io")
    config = make_project(tmp_path / "project")
    folder = export(config, with_poses(make_video(tmp_path / "cam.mp4", (0, 5))))
    data, attributes = layers_of(folder)["points machinelabels-iter0"]
    models = pytest.importorskip("napari_deeplabcut.config.models")
    attributes["metadata"]["save_target"] = models.IOProvenance(
        project_root=str(folder),
        source_relpath_posix="CollectedData_Ana.h5",
        kind=models.AnnotationKind.GT,
        dataset_key=KEY,
        scorer="Ana",
    )
    moved = np.add(data, [0, 1, 1])
    writer.write_hdf("", moved, attributes)
    labels = DeepLabCutProject(config).read_labels()
    assert [(x.frame, x.labeller) for x in labels] == [(0, "Ana"), (5, "Ana")]
    assert labels[1].points == (
        LabelledPoint("", "nose", 6.5, 8.0),
        LabelledPoint("", "tail", 21.0, 6.0),
    )
