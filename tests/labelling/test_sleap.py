"""Queues in SLEAP's own files: what is put there, what stays, and what comes back."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import sleap_io

from alwatch.errors import ExportError
from alwatch.labelling.sleap import SleapProject
from alwatch.records import LabelledPoint, QueuedVideo, Skeleton
from alwatch.video.process import open_video
from tests.labelling.helpers import (
    SKELETON,
    contents,
    make_queue,
    make_sleap_project,
    make_video,
    no_frames,
    pixels,
    read_frames,
    shown_frames,
    snapshot,
)
from tests.video.conftest import Golden, golden

if TYPE_CHECKING:
    from alwatch.records import ImageArray

__all__ = ["golden"]

POSE = np.array([[[10.0, 20.0, 0.9], [3.5, 4.25, 0.7]]], np.float32)


def tool_on(project: Path, **options: Any) -> SleapProject:
    return SleapProject(project, shown_frames=shown_frames, **options)


def load(project: Path) -> sleap_io.Labels:
    return sleap_io.load_slp(str(project), open_videos=False)


def suggested(labels: sleap_io.Labels) -> list[tuple[str, int, int]]:
    return [(s.video.filename, s.frame_idx, s.metadata["group"]) for s in labels.suggestions]


@pytest.fixture
def video(tmp_path: Path) -> QueuedVideo:
    return make_video(tmp_path / "archive" / "cam.mp4", (5, 41, 77))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "labels.slp"


# --- what is put there ----------------------------------------------------------------------------


def test_a_queue_becomes_suggestions_in_the_order_of_the_ranks(
    tmp_path: Path, project: Path
) -> None:
    one = make_video(tmp_path / "2025" / "cam.mp4", (5, 41))
    two = make_video(tmp_path / "2026" / "cam.mp4", (7,))
    ranks = [replace(one.frames[0], rank=3), replace(one.frames[1], rank=1)]
    videos = [
        replace(one, frames=tuple(ranks), fps=30.0),
        replace(two, frames=(replace(two.frames[0], rank=2),)),
    ]
    tool_on(project).write_queue(make_queue(*videos), videos, read_frames, SKELETON)
    labels = load(project)
    wanted = [(str(one.path), 41, 3), (str(two.path), 7, 3), (str(one.path), 5, 3)]
    assert suggested(labels) == wanted
    assert labels.videos[0].backend_metadata["shape"] == [500, 48, 64, 3]
    assert labels.videos[0].backend_metadata["fps"] == 30.0
    assert labels.skeleton.node_names == ["nose", "tail"]
    assert labels.skeleton.edges == []


def test_poses_are_predicted_instances_whose_pixels_are_alwatchs(
    video: QueuedVideo, project: Path
) -> None:
    video = replace(video, poses={41: POSE})
    tool_on(project).write_queue(make_queue(video), [video], read_frames, SKELETON)
    with h5py.File(project) as file:
        points, instances, frames = file["pred_points"], file["instances"], file["frames"]
        assert points["x"].tolist() == [10.0, 3.5]
        assert points["y"].tolist() == [20.0, 4.25]
        np.testing.assert_allclose(points["score"], [0.9, 0.7], rtol=1e-6)
        np.testing.assert_allclose(instances["score"], [0.8], rtol=1e-6)
        assert instances["instance_type"].tolist() == [1]
        assert frames["frame_idx"].tolist() == [41]
        # From 1.1 on the centre of pixel 0 is at 0.
        assert file["metadata"].attrs["format_id"] >= 1.1
    assert tool_on(project).read_labels() == []


def test_a_bodypart_that_is_not_found_is_not_drawn_and_neither_is_such_an_animal(
    video: QueuedVideo, project: Path
) -> None:
    nothing, doubtful = [np.nan, np.nan, np.nan], [3.0, 4.0, 0.049]
    pose = np.array(
        [[[1, 2, 0.5], doubtful], [nothing, doubtful], [nothing, [5, 6, 0.05]]], np.float32
    )
    video = replace(video, poses={5: pose, 41: pose[1:2]})
    tool_on(project).write_queue(make_queue(video), [video], read_frames, SKELETON)
    (frame,) = load(project).labeled_frames
    drawn = [instance.numpy().tolist() for instance in frame.instances]
    np.testing.assert_equal(drawn, [[[1, 2], [np.nan, np.nan]], [[np.nan, np.nan], [5, 6]]])


def test_poses_go_to_the_nodes_of_their_names(video: QueuedVideo, project: Path) -> None:
    labels = sleap_io.Labels(skeletons=[sleap_io.Skeleton(["paw", "tail", "ear"])])
    labels.save(str(project))
    video = replace(video, poses={5: POSE})
    skeleton = Skeleton(("tail", "nose"), source="snapshot")
    tool_on(project).write_queue(make_queue(video), [video], read_frames, skeleton)
    labels = load(project)
    assert [each.node_names for each in labels.skeletons] == [["paw", "tail", "ear"]]
    nan = [np.nan, np.nan]
    np.testing.assert_equal(labels.labeled_frames[0].instances[0].numpy(), [nan, [10, 20], nan])


def test_without_a_model_and_bodyparts_there_are_suggestions_only(
    video: QueuedVideo, project: Path
) -> None:
    tool_on(project).write_queue(make_queue(video), [video], read_frames, Skeleton())
    labels = load(project)
    assert (len(labels.suggestions), labels.skeletons, labels.labeled_frames) == (3, [], [])


def test_a_grey_video_is_grey_in_sleap(video: QueuedVideo, project: Path) -> None:
    def grey(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
        yield from ((frame.frame, np.full((48, 64, 3), 7, np.uint8)) for frame in video.frames)

    def grey_in_sleap(
        videos: Sequence[tuple[QueuedVideo, Sequence[int]]],
    ) -> Iterator[dict[int, ImageArray]]:
        yield from ({i: np.full((48, 64, 3), 7, np.uint8) for i in each} for _, each in videos)

    tool = SleapProject(project, shown_frames=grey_in_sleap)
    tool.write_queue(make_queue(video), [video], grey, SKELETON)
    assert load(project).video.grayscale is True


def test_the_record_holds_scores_and_reasons(video: QueuedVideo, project: Path) -> None:
    tool_on(project).write_queue(make_queue(video), [video], read_frames, SKELETON)
    record = json.loads((project.parent / "labels.alwatch.json").read_text())
    frames = record["queues"]["3"]["frames"]
    assert [(f["frame"], f["rank"], f["score"], f["reason"]) for f in frames] == [
        (frame.frame, frame.rank, frame.score, frame.reason) for frame in video.frames
    ]


# --- what stays -----------------------------------------------------------------------------------


def test_two_queues_go_into_one_project(video: QueuedVideo, project: Path) -> None:
    one, two = (replace(video, frames=video.frames[a:b]) for a, b in ((0, 2), (1, 3)))
    tool_on(project).write_queue(make_queue(one), [one], read_frames, SKELETON)
    tool_on(project).write_queue(make_queue(two, id=4), [two], read_frames, SKELETON)
    labels = load(project)
    assert [(frame, group) for _, frame, group in suggested(labels)] == [(5, 3), (41, 3), (77, 4)]
    assert len(labels.videos) == 1


def test_what_a_person_made_stays(tmp_path: Path, video: QueuedVideo, project: Path) -> None:
    make_sleap_project(project)
    with h5py.File(project, "a") as file:
        file["of_a_newer_sleap"] = [1, 2, 3]
    before = load(project)
    content = project.read_bytes()
    video = replace(video, poses={5: POSE})
    tool_on(project).write_queue(make_queue(video), [video], read_frames, SKELETON)
    after = load(project)
    assert_made_by_people_alike(before, after)
    assert [t.name for t in after.tracks] == ["Ada"]
    assert after.provenance["who"] == "a person"
    with h5py.File(project) as file:
        assert file["of_a_newer_sleap"][:].tolist() == [1, 2, 3]
    assert project.with_name("labels.alwatch-backup.slp").read_bytes() == content


def assert_made_by_people_alike(before: sleap_io.Labels, after: sleap_io.Labels) -> None:
    """Every frame, instance and suggestion of one is in the other, at the same place."""
    assert suggested(after)[: len(before.suggestions)] == suggested(before)
    assert [v.filename for v in after.videos][: len(before.videos)] == [
        v.filename for v in before.videos
    ]
    for one, other in zip(before.skeletons, after.skeletons, strict=False):
        assert one.node_names == other.node_names
        assert one.edge_names == other.edge_names
        assert one.symmetry_names == other.symmetry_names
    for one, other in zip(before.labeled_frames, after.labeled_frames, strict=False):
        assert (one.frame_idx, one.is_negative) == (other.frame_idx, other.is_negative)
        assert one.video.filename == other.video.filename
        for mine, theirs in zip(one.instances, other.instances, strict=True):
            assert type(mine) is type(theirs)
            assert (mine.track and mine.track.name) == (theirs.track and theirs.track.name)
            assert (mine.from_predicted is None) == (theirs.from_predicted is None)
            for column in mine.points.dtype.names:
                np.testing.assert_array_equal(mine.points[column], theirs.points[column])
    assert len(after.labeled_frames) >= len(before.labeled_frames)


PREDICTED = "sleap/docs/notebooks/analysis_example/predictions.slp"
REAL = [
    "sleap/tests/data/hdf5_format_v1/centered_pair_predictions.slp",
    "sleap/tests/data/siv_format_v1/robot_siv.slp",
    "sleap/tests/data/slp_hdf5/dance.mp4.labels.slp",
    "sleap/tests/data/slp_hdf5/minimal_instance.slp",
    "sleap/tests/data/slp_hdf5/small_robot_minimal.slp",
    "sleap/tests/data/tracks/clip.2node.slp",
    "sleap/tests/data/tracks/clip.slp",
]


@pytest.mark.parametrize("name", REAL)
def test_a_real_project_takes_a_queue_and_keeps_everything(
    data_dir: Path, name: str, video: QueuedVideo, project: Path
) -> None:
    shutil.copyfile(data_dir / name, project)
    before = load(project)
    tool_on(project).write_queue(make_queue(video), [video], read_frames, SKELETON)
    after = load(project)
    assert_made_by_people_alike(before, after)
    assert len(after.suggestions) == len(before.suggestions) + 3
    with h5py.File(data_dir / name) as old, h5py.File(project) as new:
        for points in ("points", "pred_points"):
            for axis in ("x", "y"):
                np.testing.assert_array_equal(old[points][axis], new[points][axis])
        assert len(old["instances"]) == len(new["instances"])
    tool_on(project).withdraw_queue(make_queue(video), [video])
    assert_made_by_people_alike(before, load(project))
    assert len(load(project).videos) == len(before.videos)


@pytest.mark.parametrize("name", [*REAL, PREDICTED, "sleap-nn/minimal_instance.pkg.slp"])
def test_labels_of_real_projects_are_those_in_the_file(data_dir: Path, name: str) -> None:
    labels = SleapProject(data_dir / name).read_labels()
    found = {
        (label.frame, round(p.x_px, 9), round(p.y_px, 9)) for label in labels for p in label.points
    }
    wanted = set()
    with h5py.File(data_dir / name) as file:
        shift = 0.5 if file["metadata"].attrs["format_id"] < 1.1 else 0.0
        index_of = {row["frame_id"]: row["frame_idx"] for row in file["frames"][:]}
        for row in file["instances"][:]:
            if row["instance_type"] == 0:
                for point in file["points"][row["point_id_start"] : row["point_id_end"]]:
                    if point["visible"] and np.isfinite(point["x"]):
                        x_px, y_px = point["x"] - shift, point["y"] - shift
                        frame = int(index_of[row["frame_id"]])
                        wanted.add((frame, round(float(x_px), 9), round(float(y_px), 9)))
    assert found == wanted


def test_a_project_of_the_first_format_is_shifted_by_half_a_pixel(project: Path) -> None:
    """Before format 1.1 the corner of pixel 0 was at 0, and so its centre at 0.5."""
    make_sleap_project(project)
    with h5py.File(project, "a") as file:
        file["metadata"].attrs["format_id"] = 1.0
        table = file["instances"][:]
        del file["instances"]
        file["instances"] = table[list(table.dtype.names[:-1])]
    labels = {label.frame: label for label in SleapProject(project).read_labels()}
    assert labels[3].points[0] == LabelledPoint("Ada", "nose", 9.5, 19.5)


# --- what comes back ------------------------------------------------------------------------------


def test_labels_are_what_people_placed_and_negative_frames_are_empty(project: Path) -> None:
    make_sleap_project(project)
    labels = SleapProject(project).read_labels()
    assert [(label.folder, label.frame, label.state) for label in labels] == [
        ("old", 3, "labelled"),
        ("old", 9, "empty"),
    ]
    assert labels[0].points == (
        LabelledPoint("Ada", "nose", 10.0, 20.0),
        LabelledPoint("Ada", "tail", 11.5, 21.5),
        LabelledPoint("individual2", "nose", 30.0, 40.0),
    )


def test_animals_have_no_names_where_there_is_only_one(project: Path) -> None:
    skeleton = sleap_io.Skeleton(["nose", "tail"])
    video = sleap_io.Video("/v/a.mp4", open_backend=False)
    instance = sleap_io.Instance.from_numpy(np.array([[1.0, 2.0], [np.nan, np.nan]]), skeleton)
    sleap_io.Labels([sleap_io.LabeledFrame(video, 4, [instance])]).save(str(project))
    (label,) = SleapProject(project).read_labels()
    assert label.points == (LabelledPoint("", "nose", 1.0, 2.0),)


def test_a_pose_that_a_person_corrects_comes_back(video: QueuedVideo, project: Path) -> None:
    video = replace(video, poses={41: POSE})
    tool = tool_on(project)
    (folder, _), *_ = tool.write_queue(make_queue(video), [video], read_frames, SKELETON).folders
    correct(project, 41, [[10, 20], [8, 9]])
    (label,) = tool.read_labels()
    assert (label.folder, label.frame, label.source) == (folder, 41, project)
    assert [(p.bodypart, p.x_px, p.y_px) for p in label.points] == [
        ("nose", 10.0, 20.0),
        ("tail", 8.0, 9.0),
    ]
    before = snapshot(project.parent)
    assert tool.write_queue(make_queue(video), [video], no_frames, SKELETON).kept == 3
    assert snapshot(project.parent) == before


def correct(
    project: Path, frame: int, points: list[list[float]], embed: bool | None = None
) -> None:
    """What SLEAP does when a person corrects a prediction and saves."""
    labels = sleap_io.load_slp(str(project))
    (found,) = [each for each in labels.labeled_frames if each.frame_idx == frame]
    pose = found.instances[0]
    made = sleap_io.Instance.from_numpy(np.array(points, float), pose.skeleton)
    made.from_predicted = pose
    found.instances.append(made)
    labels.save(str(project.with_name("saved.slp")), embed=embed, verbose=False)
    project.with_name("saved.slp").replace(project)


def test_labels_of_videos_that_share_a_stem_are_not_mixed(tmp_path: Path, project: Path) -> None:
    skeleton = sleap_io.Skeleton(["nose"])
    frames = []
    for folder in ("2024", "2025"):
        video = sleap_io.Video(f"/v/{folder}/cam.mp4", open_backend=False)
        instance = sleap_io.Instance.from_numpy(np.array([[1.0, 2.0]]), skeleton)
        frames.append(sleap_io.LabeledFrame(video, 4, [instance]))
    sleap_io.Labels(frames).save(str(project))
    folders = [label.folder for label in SleapProject(project).read_labels()]
    assert folders == ["/v/2024/cam.mp4", "/v/2025/cam.mp4"]


def test_a_video_that_the_project_has_under_another_path_is_the_same(
    video: QueuedVideo, project: Path
) -> None:
    link = project.parent / "other name.mp4"
    link.symlink_to(video.path)
    sleap_io.Labels(videos=[sleap_io.Video("other name.mp4", open_backend=False)]).save(
        str(project)
    )
    tool_on(project).write_queue(make_queue(video), [video], read_frames, SKELETON)
    labels = load(project)
    assert [v.filename for v in labels.videos] == ["other name.mp4"]
    tool_on(project).withdraw_queue(make_queue(video), [video])
    assert len(load(project).videos) == 1


# --- taking back ----------------------------------------------------------------------------------


def test_a_withdrawn_queue_leaves_a_project_as_it_was(video: QueuedVideo, project: Path) -> None:
    make_sleap_project(project)
    content = project.read_bytes()
    video = replace(video, poses={5: POSE, 41: POSE})
    tool = tool_on(project)
    tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    assert project.read_bytes() != content
    assert tool.withdraw_queue(make_queue(video), [video]) == 3
    assert dump(project) == dump_of(content, project)
    assert sorted(path.name for path in project.parent.iterdir()) == [
        "labels.alwatch-backup.slp",
        "labels.slp",
    ]
    before = snapshot(project.parent)
    assert tool.withdraw_queue(make_queue(video), [video]) == 0
    assert snapshot(project.parent) == before


def dump(path: Path) -> dict[str, Any]:
    """All that a `.slp` file holds, but where it was read from."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, each: found.update(
                {name: each[()].tolist()} if isinstance(each, h5py.Dataset) else {}
            )
        )
    return {name: repr(value) for name, value in found.items() if name != "provenance_json"}


def dump_of(content: bytes, project: Path) -> dict[str, Any]:
    copy = project.with_name("copy.h5")
    copy.write_bytes(content)
    found = dump(copy)
    copy.unlink()
    return found


def test_a_frame_that_is_labelled_by_now_keeps_its_queue(video: QueuedVideo, project: Path) -> None:
    video = replace(video, poses={41: POSE})
    tool = tool_on(project)
    tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    correct(project, 41, [[10, 20], [8, 9]])
    before = contents(project.parent)
    with pytest.raises(ExportError, match=r"frame 41 of .*cam\.mp4 is labelled, so it stays"):
        tool.withdraw_queue(make_queue(video), [video])
    assert contents(project.parent) == before


def test_what_a_person_did_meanwhile_stays_when_a_queue_goes(
    video: QueuedVideo, project: Path
) -> None:
    video = replace(video, poses={5: POSE, 41: POSE})
    tool = tool_on(project)
    tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    labels = load(project)
    labels.suggestions.append(sleap_io.SuggestionFrame(labels.video, 100, {"group": 0}))
    labels.labeled_frames[1].instances[0].points["xy"][0] = (1, 1)  # predicted anew
    labels.save(str(project), embed=None)
    assert tool.withdraw_queue(make_queue(video), [video]) == 3
    labels = load(project)
    assert suggested(labels) == [(str(video.path), 100, 0)]
    assert [frame.frame_idx for frame in labels.labeled_frames] == [41]


def test_another_queue_of_the_same_number_is_refused(video: QueuedVideo, project: Path) -> None:
    one, two = replace(video, frames=video.frames[:1]), replace(video, frames=video.frames[1:])
    tool = tool_on(project)
    tool.write_queue(make_queue(one), [one], read_frames, SKELETON)
    before = contents(project.parent)
    with pytest.raises(ExportError, match="it is another queue"):
        tool.write_queue(make_queue(two), [two], read_frames, SKELETON)
    with pytest.raises(ExportError, match="it is another queue"):
        tool.withdraw_queue(make_queue(two), [two])
    assert contents(project.parent) == before


# --- packages -------------------------------------------------------------------------------------


def test_a_package_holds_the_very_images_and_the_project_stays(
    tmp_path: Path, project: Path
) -> None:
    videos = [
        replace(make_video(tmp_path / "2025" / "cam.mp4", (5, 41)), poses={5: POSE}, fps=30.0),
        make_video(tmp_path / "2026" / "cam.mp4", (7,), size=(32, 16)),
    ]
    tool = tool_on(project, package=True)
    first = tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
    package = project.with_name("labels.queue-0003.pkg.slp")
    assert not project.exists()
    labels = sleap_io.load_slp(str(package))
    for embedded, video in zip(labels.videos, videos, strict=True):
        assert embedded.source_video.filename == str(video.path)
        assert embedded.backend.embedded_frame_inds == [frame.frame for frame in video.frames]
        for frame in video.frames:
            np.testing.assert_array_equal(embedded[frame.frame], pixels(video, frame.frame))
    assert [s.frame_idx for s in labels.suggestions] == [5, 7, 41]
    assert labels.labeled_frames[0].instances[0].numpy().tolist() == [[10.0, 20.0], [3.5, 4.25]]
    before = snapshot(project.parent)
    again = tool.write_queue(make_queue(*videos), videos, no_frames, SKELETON)
    assert (first.written, again) == (3, replace(first, written=0, kept=3))
    assert snapshot(project.parent) == before


@pytest.mark.parametrize("embed", [None, False], ids=["with its images", "as SLEAP saves it"])
def test_labels_of_a_package_come_back_and_keep_it(
    video: QueuedVideo, project: Path, embed: bool | None
) -> None:
    video = replace(video, poses={41: POSE})
    tool = tool_on(project, package=True)
    (folder, _), *_ = tool.write_queue(make_queue(video), [video], read_frames, SKELETON).folders
    package = project.with_name("labels.queue-0003.pkg.slp")
    assert tool.read_labels() == []
    correct(package, 41, [[10, 20], [8, 9]], embed=embed)
    (label,) = tool.read_labels()
    assert (label.folder, label.frame, label.source) == (folder, 41, package)
    with pytest.raises(ExportError, match="somebody has saved it since"):
        tool.withdraw_queue(make_queue(video), [video])
    assert package.exists()


def test_a_withdrawn_package_is_gone(video: QueuedVideo, project: Path) -> None:
    tool = tool_on(project, package=True)
    tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    assert tool.withdraw_queue(make_queue(video), [video]) == 3
    assert list(project.parent.iterdir()) == []
    assert tool.withdraw_queue(make_queue(video), [video]) == 0


# --- refusals -------------------------------------------------------------------------------------


def test_a_package_is_no_project_to_export_to(
    data_dir: Path, video: QueuedVideo, project: Path
) -> None:
    shutil.copyfile(data_dir / "sleap-nn/minimal_instance.pkg.slp", project)
    before = contents(project.parent)
    with pytest.raises(ExportError, match="is a package"):
        tool_on(project).write_queue(make_queue(video), [video], read_frames, SKELETON)
    assert contents(project.parent) == before


@pytest.mark.parametrize("name", ["labels.h5", "labels.pkg.slp"])
def test_a_project_of_another_name_is_refused(video: QueuedVideo, project: Path, name: str) -> None:
    with pytest.raises(ExportError, match=r"whose name ends in \.slp"):
        tool_on(project.with_name(name)).write_queue(
            make_queue(video), [video], read_frames, SKELETON
        )
    assert list(project.parent.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no project", b"\x89HDF\r\n\x1a\n" + b"x" * 200])
def test_a_file_that_is_no_project_is_one_clear_line(
    video: QueuedVideo, project: Path, content: bytes
) -> None:
    project.write_bytes(content)
    for call in (
        lambda: tool_on(project).read_labels(),
        lambda: tool_on(project).write_queue(make_queue(video), [video], read_frames, SKELETON),
    ):
        with pytest.raises(ExportError, match="is to be a project of SLEAP") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert project.read_bytes() == content


def test_a_record_that_cannot_be_read_is_one_clear_line(video: QueuedVideo, project: Path) -> None:
    project.with_name("labels.alwatch.json").write_text("[1]")
    with pytest.raises(ExportError, match="cannot be read"):
        tool_on(project).write_queue(make_queue(video), [video], read_frames, SKELETON)
    assert not project.exists()


def test_a_project_that_is_saved_during_an_export_stays_as_it_was_saved(
    video: QueuedVideo, project: Path
) -> None:
    make_sleap_project(project)

    def somebody_saves(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
        labels = load(project)
        labels.suggestions.clear()
        labels.save(str(project), embed=None)
        yield from read_frames(video)

    with pytest.raises(ExportError, match="was saved by somebody else meanwhile"):
        tool_on(project).write_queue(make_queue(video), [video], somebody_saves, SKELETON)
    assert load(project).suggestions == []
    assert [path.name for path in project.parent.iterdir()] == ["labels.slp"]


def test_rights_stay_and_a_link_stays_a_link(
    tmp_path: Path, video: QueuedVideo, project: Path
) -> None:
    make_sleap_project(project)
    project.chmod(0o640)
    (tmp_path / "link.slp").symlink_to(project)
    tool = tool_on(tmp_path / "link.slp")
    exported = tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    assert exported.project == tmp_path / "link.slp"
    assert (tmp_path / "link.slp").is_symlink()
    assert project.stat().st_mode & 0o777 == 0o640
    assert len(load(project).suggestions) == 4


# --- real videos ----------------------------------------------------------------------------------


def real_video(path: Path, indices: Sequence[int]) -> QueuedVideo:
    with open_video(path) as reader:
        info, timeline = reader.probe()
    made = make_video(
        path,
        tuple(indices),
        size=(info.width_px, info.height_px),
        content_hash=hashlib.sha256(os.fsencode(path)).hexdigest(),
        n_frames=timeline.n_frames,
    )
    return replace(made, fps=info.fps)


def read_real(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
    with open_video(video.path) as reader:
        for frame in reader.read(np.array([frame.frame for frame in video.frames])):
            yield frame.index, frame.image


@pytest.mark.parametrize("name", ["b_frames.mp4", "open_gop.mp4", "mpeg4_b_frames.avi"])
def test_sleap_shows_the_frames_that_were_chosen(golden: Golden, project: Path, name: str) -> None:
    video = real_video(golden(name), [3, 61, 150, 299])
    SleapProject(project).write_queue(make_queue(video), [video], read_real, SKELETON)
    shown = sleap_io.load_slp(str(project)).video
    assert shown.shape == (300, 240, 320, 3)
    for index, image in read_real(video):
        np.testing.assert_array_equal(shown[index], image)


@pytest.mark.parametrize(
    ("name", "found"), [("variable.mp4", "another picture"), ("vp9.webm", "cannot show")]
)
def test_a_video_that_sleap_does_not_show_right_is_refused_and_goes_into_a_package(
    golden: Golden, project: Path, name: str, found: str
) -> None:
    video = real_video(golden(name), [3, 280])
    queue = make_queue(video)
    with pytest.raises(ExportError, match=f"Frame .* SLEAP .*{found}.*package: true"):
        SleapProject(project).write_queue(queue, [video], read_real, SKELETON)
    assert list(project.parent.iterdir()) == []
    SleapProject(project, package=True).write_queue(queue, [video], read_real, SKELETON)
    shown = sleap_io.load_slp(str(project.with_name("labels.queue-0003.pkg.slp"))).video
    for index, image in read_real(video):
        np.testing.assert_array_equal(shown[index], image)
