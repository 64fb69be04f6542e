"""From a dropped file to a queue that DeepLabCut trains on, through the commands."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from tests.labelling.helpers import copy_project
from tests.labelling.test_deeplabcut_accepts import label_as_the_gui_does, training_images
from tests.test_cli import Cli, cli  # noqa: F401, the fixture
from tests.videos import write_settings

SETTINGS = """\
state_dir: state
archive: [archive]
season: {from: path, pattern: '^(?P<season>[^/]+)/'}
sampling: {method: adaptive, rate_hz: 1, max_frames: 150}
exports: [{to: deeplabcut, project: openfield/config.yaml}]
"""


def test_twenty_frames_of_the_openfield_video_end_in_deeplabcuts_training_set(
    cli: Cli,  # noqa: F811
    data_dir: Path,
    deeplabcut: ModuleType,
) -> None:
    source = data_dir / "dlc-openfield" / "openfield-Pranav-2018-10-30"
    project = copy_project(source, cli.folder / "openfield")
    write_settings(cli.folder, SETTINGS)
    video = cli.folder / "archive" / "2018" / "m3v1mp4.mp4"
    video.parent.mkdir()
    shutil.copyfile(source / "videos" / "m3v1mp4.mp4", video)
    assert cli("ingest") == 0
    queue = cli.json("queue", "2018", "--budget", "20", "--seed", "1")
    assert len(queue["frames"]) == 20
    assert "Exported 20 frames to deeplabcut" in cli.err

    wanted = {frame["frame"] for frame in queue["frames"]}
    folder = project.parent / "labeled-data" / "m3v1mp4"
    assert {int(png.stem[3:]) for png in folder.glob("*.png")} == wanted
    capture = cv2.VideoCapture(str(video))
    for index in range(max(wanted) + 1):
        image = capture.read()[1]
        if index in wanted:
            np.testing.assert_array_equal(cv2.imread(str(folder / f"img{index:04}.png")), image)

    label_as_the_gui_does(project, "m3v1mp4", np.random.default_rng(0))
    trained_on = training_images(deeplabcut, project)
    assert {int(p.stem[3:]) for p in trained_on if p.parent.name == "m3v1mp4"} == wanted
    assert len(trained_on) == 136

    (sync,) = cli.json("labels", "sync")["projects"]
    assert (sync["labelled"], sync["unknown"]) == (20, 116)
    (season,) = cli.json("seasons")["seasons"]
    assert (season["labelled"], season["queued"]) == (20, 0)
    assert 0 < season["coverage"] <= 1
    again = cli.json("queue", "2018", "--budget", "20")
    assert not wanted & {frame["frame"] for frame in again["frames"]}
