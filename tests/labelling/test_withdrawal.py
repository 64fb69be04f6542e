"""Withdrawing from a DeepLabCut project; what every tool promises is in test_tools.py."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from alwatch.errors import ExportError
from alwatch.labelling.deeplabcut import DeepLabCutProject
from alwatch.labelling.folder_record import RECORD_NAME
from alwatch.records import QueuedVideo
from tests.labelling.helpers import (
    SKELETON,
    contents,
    make_project,
    make_queue,
    make_video,
    read_frames,
    with_poses,
)
from tests.labelling.label_files import KEY

NAN = np.nan


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


@pytest.fixture
def video(tmp_path: Path) -> QueuedVideo:
    return with_poses(make_video(tmp_path / "cam.mp4", (0, 5, 41)))


@pytest.fixture
def folder(config: Path) -> Path:
    return config.parent / "labeled-data" / "cam"


def export(config: Path, *videos: QueuedVideo, id: int = 3) -> None:
    DeepLabCutProject(config).write_queue(make_queue(*videos, id=id), videos, read_frames, SKELETON)


def withdraw(config: Path, *videos: QueuedVideo, id: int = 3) -> int:
    return DeepLabCutProject(config).withdraw_queue(make_queue(*videos, id=id), videos)


def save_labels(folder: Path, rows: dict[str, float], scorer: str = "Ana") -> None:
    """As the GUI saves: one number for all of a row's coordinates."""
    index = pd.MultiIndex.from_tuples([("labeled-data", folder.name, image) for image in rows])
    columns = pd.MultiIndex.from_product(
        [[scorer], ["nose", "tail"], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    table = pd.DataFrame([[value] * 4 for value in rows.values()], index, columns)
    table.to_hdf(folder / f"CollectedData_{scorer}.h5", key=KEY, mode="w")
    table.to_csv(folder / f"CollectedData_{scorer}.csv")


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.exists() else set()


def machine_rows(folder: Path) -> dict[str, list[float]]:
    table = pd.read_hdf(folder / "machinelabels-iter0.h5", KEY)
    return {
        row[-1]: list(values) for row, values in zip(table.index, table.to_numpy(), strict=True)
    }


def test_folder_entry_link_and_record_go_with_the_last_queue(config: Path, tmp_path: Path) -> None:
    videos = [with_poses(make_video(tmp_path / season / "cam.mp4")) for season in ("1", "2")]
    before = contents(config.parent)
    export(config, *videos)
    assert len(list((config.parent / "videos").iterdir())) == 1
    assert len(yaml.safe_load(config.read_text())["video_sets"]) == 3
    assert withdraw(config, *videos) == 6
    assert contents(config.parent) == before


def test_images_that_were_there_before_stay(config: Path) -> None:
    video = with_poses(make_video(config.parent / "videos" / "old.avi", (3, 7, 12)))
    before = contents(config.parent)
    export(config, video)
    assert withdraw(config, video) == 1
    assert contents(config.parent) == before


def test_an_empty_folder_that_was_there_stays(
    config: Path, video: QueuedVideo, folder: Path
) -> None:
    folder.mkdir()
    before = contents(config.parent)
    export(config, video)
    assert withdraw(config, video) == 3
    assert contents(config.parent) == before


def test_a_changed_image_and_one_of_a_persons_own_stay(
    config: Path, video: QueuedVideo, folder: Path
) -> None:
    export(config, video)
    (folder / "img005.png").write_bytes((folder / "img041.png").read_bytes())
    (folder / "img099.png").write_bytes((folder / "img041.png").read_bytes())
    (folder / "notes.txt").write_text("mine")
    assert withdraw(config, video) == 2
    assert names(folder) == {"img005.png", "img099.png", "notes.txt"}
    assert str(video.path) in yaml.safe_load(config.read_text())["video_sets"]


def test_an_image_with_an_empty_row_stays_as_deeplabcut_would_miss_it(
    config: Path, video: QueuedVideo, folder: Path
) -> None:
    export(config, video)
    save_labels(folder, {"img000.png": NAN, "img041.png": NAN}, scorer="Bob")
    labels = {name: (folder / name).read_bytes() for name in names(folder) if "Collected" in name}
    assert withdraw(config, video) == 1
    assert names(folder) == {"img000.png", "img041.png", *labels}
    assert {name: (folder / name).read_bytes() for name in labels} == labels


@pytest.mark.parametrize("scorer", ["Ana", "Bob"])
def test_a_frame_that_anybody_labelled_is_named_and_nothing_changes(
    config: Path, video: QueuedVideo, folder: Path, scorer: str
) -> None:
    other = make_video(config.parent / "videos" / "old.avi", (12,))
    export(config, other, video)
    save_labels(folder, {"img000.png": NAN, "img05.png": 1.0}, scorer)
    before = contents(config.parent)
    with pytest.raises(ExportError, match=f"but {scorer} has labelled 1 of its frames there"):
        withdraw(config, other, video)
    assert contents(config.parent) == before


def test_labels_of_other_frames_do_not_hold_a_queue_back(
    config: Path, video: QueuedVideo, folder: Path
) -> None:
    export(config, video)
    more = with_poses(make_video(video.path, (6, 7)))
    export(config, more, id=4)
    save_labels(folder, {"img000.png": 1.0})
    assert withdraw(config, more, id=4) == 2
    assert {"img006.png", "img007.png"}.isdisjoint(names(folder))
    assert sorted(machine_rows(folder)) == ["img000.png", "img005.png", "img041.png"]


def test_a_frame_that_two_queues_asked_for_goes_with_the_second(
    config: Path, video: QueuedVideo, folder: Path
) -> None:
    other = with_poses(make_video(video.path, (5, 6)))
    export(config, video, id=3)
    export(config, other, id=4)
    assert withdraw(config, video, id=3) == 2
    assert {"img005.png", "img006.png"} <= names(folder)
    assert sorted(machine_rows(folder)) == ["img005.png", "img006.png"]
    assert np.isfinite(machine_rows(folder)["img005.png"]).all()
    assert withdraw(config, other, id=4) == 2
    assert not folder.exists()


def test_a_queue_of_the_same_number_from_another_state_is_another_queue(
    config: Path, video: QueuedVideo, folder: Path
) -> None:
    export(config, video)
    theirs = make_queue(video)
    theirs = replace(theirs, created_at=theirs.created_at.replace(year=2025))
    assert DeepLabCutProject(config).withdraw_queue(theirs, [video]) == 0
    assert len(names(folder)) == 6


def test_a_renamed_folder_is_found_again(config: Path, video: QueuedVideo, folder: Path) -> None:
    before = contents(config.parent)
    export(config, video)
    folder.rename(folder.with_name("cage 7"))
    assert withdraw(config, video) == 3
    assert contents(config.parent) == before


def test_rows_that_deeplabcut_added_stay_with_their_images(
    config: Path, video: QueuedVideo, folder: Path
) -> None:
    export(config, replace(video, poses={0: video.poses[0]}))
    file = folder / "machinelabels-iter0.h5"
    table = pd.read_hdf(file, KEY)
    table.loc[("labeled-data", "cam", "img005.png")] = 4.0  # no pose of ours is in it
    table.loc[("labeled-data", "cam", "img099.png")] = 5.0
    table.to_hdf(file, key=KEY, mode="w")
    table.to_csv(folder / "machinelabels.csv")
    assert withdraw(config, video) == 2
    assert names(folder) == {"img005.png", "machinelabels-iter0.h5", "machinelabels.csv"}
    rows = {name: values for name, values in machine_rows(folder).items()}
    assert rows == {"img005.png": [4.0] * 6, "img099.png": [5.0] * 6}


def test_an_entry_that_a_person_edited_stays(config: Path, video: QueuedVideo) -> None:
    export(config, video)
    edited = config.read_text().replace("0, 64, 0, 48\nbody", "0, 32, 0, 48\nbody")
    config.write_text(edited)
    assert withdraw(config, video) == 3
    assert config.read_text() == edited


def test_an_export_of_before_records_were_kept_is_left_alone(
    config: Path, video: QueuedVideo, folder: Path
) -> None:
    export(config, video)
    (folder / RECORD_NAME).write_text(json.dumps({"content_hash": video.content_hash}))
    before = contents(config.parent)
    assert withdraw(config, video) == 0
    assert contents(config.parent) == before


@pytest.mark.parametrize("name", ["../old/img003.png", "../../config.yaml", "notes.txt", "img.png"])
def test_a_record_never_leads_to_other_files(
    config: Path, video: QueuedVideo, folder: Path, name: str
) -> None:
    export(config, video)
    record = json.loads((folder / RECORD_NAME).read_text())
    (folder / "notes.txt").write_text("mine")
    record["made"] = [name]
    record["link"] = name
    record["images"] = {name: "0"}
    record["queues"] = {key: [name] for key in record["queues"]}
    record["poses"] = {name: [name]}
    (folder / RECORD_NAME).write_text(json.dumps(record))
    before = contents(config.parent)
    assert withdraw(config, video) == 0
    del before[f"labeled-data/cam/{RECORD_NAME}"]
    assert contents(config.parent) == before
