from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alwatch.errors import ExportError
from alwatch.labelling.deeplabcut import DeepLabCutProject
from alwatch.labelling.folder_record import RECORD_NAME
from alwatch.records import QueuedVideo
from tests.labelling.helpers import (
    SKELETON,
    contents,
    copy_project,
    hash_of,
    make_project,
    make_queue,
    make_video,
    no_frames,
    pixels,
    read_frames,
    read_png,
    snapshot,
)

if TYPE_CHECKING:
    from alwatch.records import Exported, ImageArray


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def export(config: Path, *videos: QueuedVideo) -> Exported:
    return DeepLabCutProject(config).write_queue(make_queue(*videos), videos, read_frames, SKELETON)


def video_sets(config: Path) -> dict[str, dict[str, str]]:
    sets: dict[str, dict[str, str]] = yaml.safe_load(config.read_text(encoding="utf-8"))[
        "video_sets"
    ]
    return sets


def labels_for(config: Path, folder: str, images: list[str], scorer: str = "Ana") -> None:
    rows = pd.MultiIndex.from_tuples([("labeled-data", folder, image) for image in images])
    columns = pd.MultiIndex.from_product([[scorer], ["nose", "tail"], ["x", "y"]])
    columns.names = ["scorer", "bodyparts", "coords"]
    file = config.parent / "labeled-data" / folder / f"CollectedData_{scorer}.h5"
    table = pd.DataFrame(np.ones((len(images), 4)), rows, columns)
    table.to_hdf(file, key="df_with_missing", mode="w")
    table.to_csv(file.with_suffix(".csv"))


def test_frames_are_named_by_their_index_and_hold_their_pixels(
    config: Path, tmp_path: Path
) -> None:
    video = make_video(tmp_path / "cam.mp4", (1000, 7, 0), n_frames=1001)
    exported = export(config, video)
    folder = config.parent / "labeled-data" / "cam"
    assert (exported.tool, exported.project) == ("deeplabcut", config.parent)
    assert (exported.written, exported.kept) == (3, 0)
    assert exported.folders == (("cam", video.content_hash),)
    assert sorted(os.listdir(folder)) == [
        RECORD_NAME,
        "img0000.png",
        "img0007.png",
        "img1000.png",
    ]
    for index in (0, 7, 1000):
        image = read_png(folder / f"img{index:04}.png")
        np.testing.assert_array_equal(image, pixels(video, index))


def test_the_video_is_listed_with_its_whole_frame(config: Path, tmp_path: Path) -> None:
    before = video_sets(config)
    video = make_video(tmp_path / "cam.mp4", size=(640, 480))
    export(config, video)
    assert video_sets(config) == before | {str(video.path): {"crop": "0, 640, 0, 480"}}


def test_exporting_twice_changes_no_byte_and_no_time(config: Path, tmp_path: Path) -> None:
    videos = [
        make_video(tmp_path / "2025" / "cam.mp4"),
        make_video(tmp_path / "2026" / "cam.mp4", size=(32, 16)),
        make_video(tmp_path / "odd #1.mp4"),
    ]
    first = export(config, *videos)
    before = snapshot(config.parent)
    tool = DeepLabCutProject(config)
    second = tool.write_queue(make_queue(*videos), videos, no_frames, SKELETON)
    assert snapshot(config.parent) == before
    assert (second.written, second.kept) == (0, 9)
    assert second.folders == first.folders


def test_what_was_in_the_project_stays_as_it_was(config: Path, tmp_path: Path) -> None:
    labels_for(config, "old", ["img003.png"])
    before = snapshot(config.parent)
    export(config, make_video(tmp_path / "old.mp4"), make_video(tmp_path / "cam.mp4"))
    after = snapshot(config.parent)
    may_change = {".", "config.yaml", "labeled-data", "videos"}
    assert {k: v for k, v in after.items() if k in before and k not in may_change} == {
        k: v for k, v in before.items() if k not in may_change
    }
    assert not [name for name in after if "alwatch-staging" in name or name.endswith(".alwatch")]


def test_a_second_queue_adds_only_what_is_new(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "cam.mp4"
    export(config, make_video(path, (0, 5)))
    exported = export(config, make_video(path, (5, 6, 9)))
    assert (exported.written, exported.kept) == (2, 1)
    names = {f"img{index:03}.png" for index in (0, 5, 6, 9)}
    assert set(os.listdir(config.parent / "labeled-data" / "cam")) == names | {RECORD_NAME}


def test_a_frame_under_another_padding_is_recognised_and_the_width_kept(
    config: Path, tmp_path: Path
) -> None:
    video = make_video(root_video := config.parent / "videos" / "old.avi", (3, 7, 12))
    assert str(root_video) in video_sets(config)
    (config.parent / "labeled-data" / "old" / "img003.png").rename(
        config.parent / "labeled-data" / "old" / "img00003.png"
    )
    exported = export(config, video)
    assert (exported.written, exported.kept) == (1, 2)
    images = sorted(p.name for p in (config.parent / "labeled-data" / "old").glob("*.png"))
    assert images == ["img00003.png", "img00012.png", "img007.png"]


def test_two_seasons_videos_of_one_name_get_a_folder_each(config: Path, tmp_path: Path) -> None:
    one = make_video(tmp_path / "2025" / "cam.mp4", (0, 5), size=(64, 48))
    two = make_video(tmp_path / "2026" / "cam.mp4", (5, 9), size=(80, 32))
    exported = export(config, one, two)
    own = f"cam-{two.content_hash[:8]}"
    assert exported.folders == (("cam", one.content_hash), (own, two.content_hash))
    for name, video in (("cam", one), (own, two)):
        folder = config.parent / "labeled-data" / name
        sizes = {read_png(p).shape[1::-1] for p in folder.glob("*.png")}
        assert sizes == {(video.width_px, video.height_px)}
    link = config.parent / "videos" / f"{own}.mp4"
    assert link.resolve() == two.path
    assert set(video_sets(config)) >= {str(one.path), str(link)}
    tool = DeepLabCutProject(config)
    assert [tool.folder_of(two), tool.folder_of(one)] == [own, "cam"]


def test_a_link_that_is_there_is_left_alone(config: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "odd #1.mp4")
    link = config.parent / "videos" / f"{DeepLabCutProject(config).folder_of(video)}.mp4"
    link.write_bytes(b"a copy")
    export(config, video)
    assert link.read_bytes() == b"a copy"


def test_a_renamed_video_goes_on_in_its_folder(config: Path, tmp_path: Path) -> None:
    before = make_video(tmp_path / "cam.mp4", (0, 5))
    export(config, before)
    listed = video_sets(config)
    path = before.path.rename(tmp_path / "cage 7.mp4")
    after = make_video(path, (5, 6), content_hash=before.content_hash)
    exported = export(config, after)
    assert exported.folders == (("cam", before.content_hash),)
    assert (exported.written, exported.kept) == (1, 1)
    assert video_sets(config) == listed


def test_the_mode_of_the_config_stays(config: Path, tmp_path: Path) -> None:
    config.chmod(0o664)
    export(config, make_video(tmp_path / "cam.mp4"))
    assert stat.S_IMODE(config.stat().st_mode) == 0o664


def test_a_config_that_is_a_link_stays_one(config: Path, tmp_path: Path) -> None:
    real = config.rename(tmp_path / "kept elsewhere.yaml")
    config.symlink_to(real)
    video = make_video(tmp_path / "cam.mp4")
    export(config, video)
    assert config.is_symlink()
    assert str(video.path) in video_sets(real)


def test_a_video_without_frames_leaves_no_folder(config: Path, tmp_path: Path) -> None:
    before = contents(config.parent)
    exported = export(config, make_video(tmp_path / "cam.mp4", ()))
    assert exported.folders == ()
    assert contents(config.parent) == before


@settings(max_examples=40, deadline=None)
@given(stems=st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=4, unique=True))
def test_any_file_name_can_be_exported(
    tmp_path_factory: pytest.TempPathFactory, stems: list[str]
) -> None:
    tmp_path = tmp_path_factory.mktemp("any")
    config = make_project(tmp_path / "project")
    names = {
        stem.replace("/", "_").replace("\0", "_").encode(errors="replace").decode()[:60]
        for stem in stems
    }
    videos = [make_video(tmp_path / "in" / f"{name}.mp4", (2,)) for name in sorted(names)]
    exported = export(config, *videos)
    stems_listed = [Path(key).stem for key in video_sets(config)]
    assert len(set(exported.folders)) == len(videos)
    for (folder, content_hash), video in zip(exported.folders, videos, strict=True):
        assert content_hash == video.content_hash
        image = config.parent / "labeled-data" / folder / "img002.png"
        np.testing.assert_array_equal(read_png(image), pixels(video, 2))
        assert stems_listed.count(folder) == 1
    before = snapshot(config.parent)
    DeepLabCutProject(config).write_queue(make_queue(*videos), videos, no_frames, SKELETON)
    assert snapshot(config.parent) == before


def test_a_path_that_is_not_text_is_listed_by_a_link(config: Path, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path / "season") + b"\xff") + "/cam.mp4")
    video = make_video(path)
    exported = export(config, video)
    assert exported.folders[0][0] == f"cam-{hash_of(path)[:8]}"
    assert (config.parent / "videos" / f"{exported.folders[0][0]}.mp4").samefile(path)


def test_labelled_folders_that_deeplabcut_uses_unlisted_are_listed(tmp_path: Path) -> None:
    """Once a listed folder has labels, DeepLabCut drops the labels of all unlisted ones."""
    config = make_project(tmp_path / "project")
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace(f"{config.parent}/videos/old.avi", "C:\\moved\\away.avi"))
    labels_for(config, "old", ["img003.png"])
    video = make_video(tmp_path / "cam.mp4")
    export(config, video)
    crop = {"crop": "0, 64, 0, 48"}
    assert video_sets(config) == {
        "C:\\moved\\away.avi": crop,
        str(video.path): crop,
        str(config.parent / "videos" / "old.mp4"): crop,
    }


def test_labelled_folders_that_deeplabcut_does_not_use_stay_unlisted(
    config: Path, tmp_path: Path
) -> None:
    labels_for(config, "old", ["img003.png"])
    (config.parent / "labeled-data" / "left out").mkdir()
    labels_for(config, "left out", ["img001.png"])
    export(config, make_video(tmp_path / "cam.mp4"))
    assert not [key for key in video_sets(config) if "left out" in key]


def test_the_labels_of_a_project_come_back(config: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "cam.mp4", (0, 5, 41))
    tool = DeepLabCutProject(config)
    tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    assert tool.read_labels() == []
    labels_for(config, "cam", ["img005.png", "img041.png"])
    labels_for(config, "old", ["img003.png"])
    labels = tool.read_labels()
    assert [(label.folder, label.frame) for label in labels] == [
        ("cam", 5),
        ("cam", 41),
        ("old", 3),
    ]
    assert {label.project for label in labels} == {config.parent}
    assert labels[0].source.parent == config.parent / "labeled-data" / "cam"


def test_a_real_project_gives_as_many_labels_as_people_made(data_dir: Path) -> None:
    for project, count, points in (
        ("flies-dlc", 913, 1615 + 1637 + 1518 + 1589 + 1623 + 1598),
        ("dlc-openfield/openfield-Pranav-2018-10-30", 116, 4 * 116),
        ("dlc-reaching/Reaching-Mackenzie-2018-08-30", 55, 233),
    ):
        labels = DeepLabCutProject(data_dir / project / "config.yaml").read_labels()
        assert (len(labels), sum(len(label.points) for label in labels)) == (count, points)


def test_the_flies_projects_relative_paths_are_followed(data_dir: Path, tmp_path: Path) -> None:
    config = copy_project(data_dir / "flies-dlc", tmp_path / "flies")
    source = data_dir / "flies-dlc" / "videos" / "clip_a.mp4"
    video = make_video(source, (0, 10, 11), size=(160, 160), n_frames=1500)
    before = config.read_bytes()
    exported = export(config, video)
    assert exported.folders == (("clip_a", video.content_hash),)
    assert (exported.written, exported.kept) == (1, 2)
    assert config.read_bytes() == before


# --- refusals ----------------------------------------------------------------------------------


def test_what_is_not_a_project_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("Task: [")
    (tmp_path / "other.yaml").write_text("a: 1")
    (tmp_path / "list.yaml").write_text("- 1")
    cases = {
        "missing.yaml": "is not there",
        ".": "is a folder",
        "broken.yaml": "not valid YAML",
        "other.yaml": "has no Task and no scorer and no video_sets",
        "list.yaml": "holds no settings",
    }
    before = contents(tmp_path)
    video = make_video(tmp_path.parent / f"{tmp_path.name}.mp4")
    for name, why in cases.items():
        tool = DeepLabCutProject(tmp_path / name)
        for call in (
            lambda tool=tool: tool.write_queue(make_queue(video), [video], no_frames, SKELETON),
            tool.read_labels,
            lambda tool=tool: tool.folder_of(video),
        ):
            with pytest.raises(ExportError, match=why) as caught:
                call()
            assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_a_config_that_speaks_of_another_project_is_refused(tmp_path: Path) -> None:
    config = make_project(tmp_path / "project")
    copy = copy_project(tmp_path / "project", tmp_path / "copy")
    before = snapshot(tmp_path)
    with pytest.raises(ExportError, match=rf"project_path of {copy} is {config.parent}"):
        export(copy, make_video(tmp_path.parent / "cam.mp4"))
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("stated", ["WILL BE AUTOMATICALLY UPDATED BY DEMO CODE", ".", "/gone", ""])
def test_a_project_path_that_names_no_other_project_is_no_obstacle(
    config: Path, tmp_path: Path, stated: str
) -> None:
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace(f"project_path: {config.parent}", f"project_path: {stated}"))
    assert export(config, make_video(tmp_path / "cam.mp4")).written == 3


def test_a_full_disk_is_noticed_before_anything_is_written(config: Path, tmp_path: Path) -> None:
    before = snapshot(config.parent)
    video = make_video(tmp_path / "cam.mp4", tuple(range(10_000)), size=(100_000, 100_000))
    with pytest.raises(ExportError, match=r"may need 3000000\d\d MB .* Free some space"):
        DeepLabCutProject(config).write_queue(make_queue(video), [video], no_frames, SKELETON)
    assert contents(config.parent) == {k: (v[0], v[2]) for k, v in before.items()}


def test_an_export_that_is_under_way_keeps_another_one_out(config: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "cam.mp4")

    def reads_and_exports(asked: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
        with pytest.raises(ExportError, match="one export at a time"):
            export(config, video)
        yield from read_frames(asked)

    tool = DeepLabCutProject(config)
    assert tool.write_queue(make_queue(video), [video], reads_and_exports, SKELETON).written == 3


def test_an_edit_of_the_config_during_the_export_is_not_lost(config: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "cam.mp4")

    def edits(asked: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
        config.write_text(config.read_text(encoding="utf-8") + "# edited\n")
        yield from read_frames(asked)

    DeepLabCutProject(config).write_queue(make_queue(video), [video], edits, SKELETON)
    assert config.read_text(encoding="utf-8").endswith("# edited\n")
    assert str(video.path) in video_sets(config)
