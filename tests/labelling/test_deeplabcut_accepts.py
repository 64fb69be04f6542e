"""What is exported is what the installed DeepLabCut reads, lists and trains on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from alwatch.labelling.deeplabcut import DeepLabCutProject
from alwatch.records import QueuedVideo
from tests.labelling.helpers import (
    SKELETON,
    copy_project,
    make_project,
    make_queue,
    make_video,
    read_frames,
)

if TYPE_CHECKING:
    from alwatch.records import ImageArray

CHOSEN = (
    *(0, 1, 9, 10, 57, 99, 100, 101, 250, 333, 400, 512),
    *(640, 777, 900, 999, 1000, 1001, 1100, 1234),
)


def label_as_the_gui_does(config: Path, folder: str, rng: np.random.Generator) -> list[str]:
    """Label all images of a folder; returns their names."""
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    columns = pd.MultiIndex.from_product(
        [[settings["scorer"]], settings["bodyparts"], ["x", "y"]],
        names=["scorer", "bodyparts", "coords"],
    )
    images = sorted(p.name for p in (config.parent / "labeled-data" / folder).glob("*.png"))
    rows = pd.MultiIndex.from_tuples([("labeled-data", folder, image) for image in images])
    table = pd.DataFrame(rng.uniform(5, 40, (len(rows), len(columns))), rows, columns)
    target = config.parent / "labeled-data" / folder / f"CollectedData_{settings['scorer']}.h5"
    table.to_hdf(target, key="df_with_missing", mode="w")
    table.to_csv(target.with_suffix(".csv"))
    return images


def training_images(deeplabcut: ModuleType, config: Path) -> list[Path]:
    """The images that DeepLabCut's own loader hands to its training."""
    deeplabcut.create_training_dataset(str(config), net_type="resnet_50", userfeedback=False)
    from deeplabcut.pose_estimation_pytorch import DLCLoader

    loader = DLCLoader(config, shuffle=1)
    return [
        Path(image["file_name"])
        for mode in ("train", "test")
        for image in loader.load_data(mode)["images"]
    ]


def decode(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
    """Every frame in sequence, as OpenCV and so DeepLabCut counts them."""
    wanted = {frame.frame for frame in video.frames}
    capture = cv2.VideoCapture(str(video.path))
    for index in range(max(wanted) + 1):
        image: Any = capture.read()[1]
        if index in wanted:
            yield index, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@pytest.fixture
def openfield(data_dir: Path, tmp_path: Path) -> Path:
    source = data_dir / "dlc-openfield" / "openfield-Pranav-2018-10-30"
    return copy_project(source, tmp_path / "openfield-Pranav-2018-10-30")


def test_a_queue_of_the_openfield_video_becomes_part_of_the_training_set(
    deeplabcut: ModuleType, openfield: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data_dir / "dlc-openfield" / "openfield-Pranav-2018-10-30" / "videos" / "m3v1mp4.mp4"
    video = make_video(path, CHOSEN, size=(640, 480), n_frames=2330)
    root = openfield.parent
    tool = DeepLabCutProject(openfield)

    exported = tool.write_queue(make_queue(video), [video], decode, SKELETON)

    assert (exported.written, exported.kept) == (20, 0)
    config = deeplabcut.auxiliaryfunctions.read_config(str(openfield))
    assert config["video_sets"][str(path)] == {"crop": "0, 640, 0, 480"}
    images = label_as_the_gui_does(openfield, "m3v1mp4", np.random.default_rng(0))
    assert images == [f"img{index:04}.png" for index in sorted(CHOSEN)]
    capsys.readouterr()
    deeplabcut.comparevideolistsanddatafolders(str(openfield))
    missing = [line for line in capsys.readouterr().out.splitlines() if "missing" in line]
    assert missing == ["WILL BE AUTOMATICALLY UPDATED BY DEMO CODE  is missing as a folder!"]

    trained_on = training_images(deeplabcut, openfield)

    labelled_before = {root / "labeled-data" / "m4s1" / f"img{i:04}.png" for i in range(116)}
    new = {root / "labeled-data" / "m3v1mp4" / image for image in images}
    assert set(trained_on) == labelled_before | new
    assert len(trained_on) == 136
    assert all(image.exists() for image in trained_on)

    labels = tool.read_labels()
    ours = [label.frame for label in labels if label.folder == "m3v1mp4"]
    assert ours == sorted(CHOSEN)
    assert len(labels) == 136


def test_an_exported_png_is_the_frame_that_opencv_decodes_at_its_index(
    openfield: Path, data_dir: Path
) -> None:
    path = data_dir / "dlc-openfield" / "openfield-Pranav-2018-10-30" / "videos" / "m3v1mp4.mp4"
    video = make_video(path, (2, 30, 31), size=(640, 480), n_frames=2330)
    DeepLabCutProject(openfield).write_queue(make_queue(video), [video], decode, SKELETON)
    capture = cv2.VideoCapture(str(path))
    for index in range(32):
        frame = capture.read()[1]
        png = openfield.parent / "labeled-data" / "m3v1mp4" / f"img{index:04}.png"
        if png.exists():
            np.testing.assert_array_equal(cv2.imread(str(png)), frame)
    assert len(list((openfield.parent / "labeled-data" / "m3v1mp4").glob("*.png"))) == 3


def test_videos_that_share_a_stem_or_have_odd_names_are_all_trained_on(
    deeplabcut: ModuleType, tmp_path: Path
) -> None:
    config = make_project(tmp_path / "a project, Käfig 2")
    label_as_the_gui_does(config, "old", np.random.default_rng(1))
    videos = [
        make_video(tmp_path / "2025" / "cam.avi", size=(64, 48)),
        make_video(tmp_path / "2026" / "cam.avi", size=(80, 32)),
        make_video(tmp_path / "2026: 'new' #2" / 'cage [3] Mäuse: "a".mp4'),
        make_video(tmp_path / "2026" / "Käfig 7, day 1.mp4"),
    ]
    tool = DeepLabCutProject(config)
    exported = tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
    expected = {"old"}
    for folder, _ in exported.folders:
        label_as_the_gui_does(config, folder, np.random.default_rng(2))
        expected.add(folder)

    trained_on = training_images(deeplabcut, config)

    assert len(expected) == 5
    assert {image.parent.name for image in trained_on} == expected
    assert len(trained_on) == 2 + 4 * 3
    for video in videos:
        assert sum(image.parent.name == tool.folder_of(video) for image in trained_on) == 3


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "video_sets",
    [
        "video_sets:",
        "video_sets: {}",
        "video_sets: ''",
        "video_sets: {/a/b.avi: {crop: '0, 64, 0, 48'}}",
        "video_sets:\n  ? /a/very/long/path\n  : crop: 0, 64, 0, 48",
        "video_sets:\n  WILL BE AUTOMATICALLY UPDATED BY DEMO CODE:\n    crop: 0, 64, 0, 48",
    ],
)
def test_deeplabcut_reads_every_style_of_config_after_an_export(
    deeplabcut: ModuleType, tmp_path: Path, video_sets: str, line_end: str
) -> None:
    config = make_project(tmp_path / "project")
    text = config.read_text(encoding="utf-8")
    start, end = text.index("video_sets:"), text.index("bodyparts:")
    text = text[:start] + video_sets + "\n" + text[end:]
    config.write_bytes(text.replace("\n", line_end).encode())
    long = make_video(tmp_path / ("x" * 150) / "so long.mp4")
    DeepLabCutProject(config).write_queue(make_queue(long), [long], read_frames, SKELETON)

    sets = deeplabcut.auxiliaryfunctions.read_config(str(config))["video_sets"]

    assert sets.pop(str(long.path)) == {"crop": "0, 64, 0, 48"}
    assert sets == (yaml.safe_load(text)["video_sets"] or {})
