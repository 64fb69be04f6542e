from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import sleap_io

from alwatch.app import App
from alwatch.embedders.hog import HogEmbedder
from alwatch.errors import ExportError, NothingToDoError, SettingsError
from alwatch.records import Exported
from alwatch.service import Backfill
from tests.labelling.helpers import copy_project, make_project
from tests.test_service import Recorder
from tests.videos import SETTINGS, make_app, make_video

IDENTITY = HogEmbedder().identity


@pytest.fixture
def app(tmp_path: Path) -> App:
    """Two seasons, ingested: three videos in spring, two in autumn."""
    app = make_app(tmp_path)
    for seed in range(5):
        season = "spring" if seed < 3 else "autumn"
        make_video(tmp_path / "archive" / season / f"{seed}.mp4", seed=seed)
    Backfill(app, Recorder()).run([])
    return app


def frames_of(app: App, queue_id: int) -> set[tuple[int, int]]:
    return {(f.video_id, f.frame) for f in app.get_queue(queue_id).frames}


@pytest.mark.parametrize("strategy", ["uniform", "stride", "random", "kmeans", "minmax"])
def test_a_queue_has_as_many_frames_as_asked_each_with_a_reason(app: App, strategy: str) -> None:
    queue = app.make_queue("spring", budget=7, strategy=strategy, seed=1)
    assert len(queue.frames) == 7
    assert [frame.rank for frame in queue.frames] == list(range(1, 8))
    assert all(frame.reason for frame in queue.frames)
    assert all("spring" in frame.video.parts for frame in queue.frames)


def test_no_frame_is_queued_twice_over_many_rounds(app: App) -> None:
    seen: set[tuple[int, int]] = set()
    for seed in range(3):
        new = frames_of(app, app.make_queue("spring", budget=9, strategy="random", seed=seed).id)
        assert not new & seen
        seen |= new
    assert len(app.make_queue("spring", budget=9, seed=3).frames) == 3  # of 30, 27 are queued
    with pytest.raises(NothingToDoError, match="nothing left to queue"):
        app.make_queue("spring")


def test_every_queue_draws_its_audit_anew_though_the_seed_stays(tmp_path: Path) -> None:
    app = make_app(tmp_path, SETTINGS.replace("queue: {", "queue: {audit_share: 0.25, "))
    for number in range(6):
        make_video(tmp_path / "archive" / "s" / f"{number}.mp4", seed=number)
    Backfill(app, Recorder()).run([])
    audited = [app.make_queue("s", budget=4, seed=1).frames[0].video for _ in range(6)]
    assert len(set(audited)) > 1


def test_where_the_settings_leave_all_out_the_message_names_them(tmp_path: Path) -> None:
    app = make_app(tmp_path, SETTINGS.replace("queue: {", "queue: {outlier_share: 1.0, "))
    make_video(tmp_path / "archive" / "s" / "1.mp4", seed=1)
    Backfill(app, Recorder()).run([])
    with pytest.raises(NothingToDoError, match=r"left out by the settings of queue .outlier_share"):
        app.make_queue("s")


def test_the_same_archive_settings_and_seed_give_the_same_queue(tmp_path: Path) -> None:
    """Whatever the order in which the videos came, and wherever the archive lies."""
    chosen, digests = [], []
    for name, order in (("one", [0, 1, 2]), ("two", [2, 0, 1])):
        (tmp_path / name).mkdir()
        app = make_app(tmp_path / name)
        for seed in order:
            path = make_video(tmp_path / name / "archive" / "s" / f"{seed}.mp4", seed=seed)
            Backfill(app, Recorder()).run([path])
        queue = app.make_queue("s", budget=6, strategy="kmeans", seed=5)
        chosen.append([(f.video.name, f.frame, f.rank, f.reason) for f in queue.frames])
        digests.append(queue.manifest["pool_digest"])
    assert chosen[0] == chosen[1]
    assert digests[0] == digests[1]


def test_the_manifest_tells_what_the_choice_was_made_from(app: App) -> None:
    first = app.make_queue("spring", budget=2).manifest
    second = app.make_queue("spring", budget=2).manifest
    assert first["software"].startswith("alwatch ")
    assert first["embedder"]["weights"] == IDENTITY.weights
    assert (first["taken_frames"], second["taken_frames"]) == (0, 2)
    assert first["pool_digest"] != second["pool_digest"]


def test_caps_and_equal_shares_are_those_of_the_individuals_in_the_paths(tmp_path: Path) -> None:
    groups = "groups: {individual: '/(?P<individual>m[0-9])_', session: '_(?P<session>[ab])'}\n"
    app = make_app(tmp_path, SETTINGS + groups)
    names = ["m1_a", "m1_b", "m1_c", "m2_a", "unnamed"]
    for seed, name in enumerate(names):
        make_video(tmp_path / "archive" / "s" / f"{name}.mp4", seed=seed)
    Backfill(app, Recorder()).run([])
    rules = app.settings.queue

    def counts(**limits: object) -> Counter[str]:
        queue = rules.model_copy(update=limits)
        app.settings = app.settings.model_copy(update={"queue": queue})
        made = app.make_queue("s", budget=9, strategy="random")
        return Counter(frame.video.stem for frame in made.frames)

    shared = counts()
    assert (shared["m2_a"], shared["unnamed"]) == (3, 3)
    capped = counts(per_individual_max=1)
    assert (capped["m2_a"], capped["unnamed"], sum(capped.values())) == (1, 1, 3)
    by_session = counts(per_session_max=2, share_by="session")
    assert by_session["m1_a"] + by_session["m2_a"] == 2
    assert (by_session["m1_b"], by_session["m1_c"], by_session["unnamed"]) == (2, 2, 2)


def test_groups_are_part_of_what_the_choice_was_made_from(tmp_path: Path) -> None:
    digests = set()
    for name, groups in (("one", ""), ("two", "groups: {individual: '(?P<individual>s)/'}\n")):
        (tmp_path / name).mkdir()
        app = make_app(tmp_path / name, SETTINGS + groups)
        for seed in range(2):
            make_video(tmp_path / name / "archive" / "s" / f"{seed}.mp4", seed=seed)
        Backfill(app, Recorder()).run([])
        digests.add(app.make_queue("s", budget=2).manifest["pool_digest"])
    assert len(digests) == 2


def test_a_frame_left_out_is_listed_but_neither_queued_nor_exported(tmp_path: Path) -> None:
    text = SETTINGS.replace("queue: {", "queue: {outlier_share: 0.1, ")
    app = make_app(tmp_path, text + "exports: [{to: folder, project: out}]\n")
    (tmp_path / "out").mkdir()
    video = make_video(tmp_path / "archive" / "s" / "a.mp4", hand_at=20)
    Backfill(app, Recorder()).run([])
    queue = app.make_queue("s", budget=9)
    (left_out,) = app.get_queue(queue.id).review
    assert (left_out.video, left_out.frame, left_out.rank) == (video, 20, 1)
    assert left_out.reason.startswith("unlike any other frame of its video (distance ")
    assert f"distance {left_out.score:.2f};" in left_out.reason
    assert sorted(frame.frame for frame in queue.frames) == [0, 5, 10, 15, 25, 30, 35, 40, 45]
    ((_, exported),) = app.export_as_set(queue)
    assert exported.written == 9
    assert not list((tmp_path / "out").rglob("*20.png"))
    (counts,) = app.store.pools.season_counts()
    assert counts.queued == 9


def test_an_unknown_season_names_those_that_exist(app: App) -> None:
    with pytest.raises(NothingToDoError, match="autumn, spring"):
        app.make_queue("winter")


def test_an_unknown_strategy_names_the_nearest(app: App) -> None:
    with pytest.raises(SettingsError, match="did you mean minmax"):
        app.make_queue("spring", strategy="minmx")
    assert app.store.queues.summaries() == []


def test_an_exported_image_is_the_frame_that_opencv_shows_at_its_index(
    app: App, tmp_path: Path
) -> None:
    queue = app.make_queue("spring", budget=6, strategy="random")
    exported = app.export(queue, "folder", tmp_path / "out")
    assert exported.written == 6
    for frame in queue.frames:
        reader = cv2.VideoCapture(str(frame.video))
        for _ in range(frame.frame + 1):
            image = reader.read()[1]
        stem = frame.video.stem
        (png,) = (tmp_path / "out").rglob(f"{stem}-*_img*{frame.frame:02d}.png")
        np.testing.assert_array_equal(cv2.imread(str(png)), image)


def test_exporting_twice_changes_nothing(app: App, tmp_path: Path) -> None:
    queue = app.make_queue("spring", budget=3)
    app.export(queue, "folder", tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    again = app.export(queue, "folder", tmp_path / "out")
    assert (again.written, again.kept) == (0, 3)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before


def test_a_video_whose_bytes_changed_is_not_exported(app: App, tmp_path: Path) -> None:
    queue = app.make_queue("spring", budget=3)
    make_video(queue.frames[0].video, seed=99)
    with pytest.raises(ExportError, match="has changed since"):
        app.export(queue, "folder", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))


def test_the_exports_of_the_settings_are_made_with_the_queue(tmp_path: Path) -> None:
    app = make_app(tmp_path, SETTINGS + "exports: [{to: folder, project: out}]\n")
    (tmp_path / "out").mkdir()
    make_video(tmp_path / "archive" / "s" / "a.mp4")
    Backfill(app, Recorder()).run([])
    ((to, exported),) = app.export_as_set(app.make_queue("s", budget=4))
    assert (to, exported.written) == ("folder", 4)


def test_a_withdrawn_queue_leaves_its_project_and_its_frames_may_be_chosen_again(
    app: App, tmp_path: Path
) -> None:
    queue = app.make_queue("spring", budget=3)
    app.export(queue, "folder", tmp_path / "out")
    assert app.withdraw_queue(queue) == 3
    assert list((tmp_path / "out").iterdir()) == []
    assert app.withdraw_queue(queue) == 0
    again = app.make_queue("spring", budget=3)
    assert frames_of(app, again.id) == frames_of(app, queue.id)
    with pytest.raises(ExportError, match="was withdrawn"):
        app.export(queue, "folder", tmp_path / "out")


def test_a_queue_with_a_label_stays_though_the_label_was_not_noticed_yet(
    app: App, tmp_path: Path
) -> None:
    queue = app.make_queue("spring", budget=3)
    app.export(queue, "folder", tmp_path / "out")
    folder = next((tmp_path / "out").glob("queue-*"))
    image = next(folder.glob("*.png")).name
    (folder / "labels.csv").write_text(f"image,nose x\n{image},5.0\n")
    with pytest.raises(NothingToDoError, match="1 of its 3 frames are labelled"):
        app.withdraw_queue(queue)
    assert len(list(folder.glob("*.png"))) == 3


def test_a_project_may_name_bodyparts_otherwise(tmp_path: Path, data_dir: Path) -> None:
    config = copy_project(
        data_dir / "dlc-openfield" / "openfield-Pranav-2018-10-30", tmp_path / "project"
    )
    rename = "exports: [{to: deeplabcut, project: project/config.yaml, bodyparts: {nose: snout}}]\n"
    app = make_app(tmp_path, SETTINGS + rename)
    make_video(tmp_path / "archive" / "s" / "m4s1.mp4")
    Backfill(app, Recorder()).run([])
    (sync,) = app.sync_labels()
    assert sync.labelled == 116
    names = {point.bodypart for points in app.store.labels.points().values() for point in points}
    assert names == {"nose", "leftear", "rightear", "tailbase"}
    assert config.is_file()


def test_labels_come_back_from_deeplabcut_and_leave_the_pool(
    app: App, tmp_path: Path, data_dir: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(data_dir / "dlc-openfield" / "openfield-Pranav-2018-10-30", project)
    for path in [project, *project.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    config = project / "config.yaml"
    queue = app.make_queue("spring", budget=4)
    app.export(queue, "deeplabcut", config)
    labelled = queue.frames[0]
    folder = next(project.glob(f"labeled-data/{labelled.video.stem}*"))
    image = next(p for p in folder.glob("*.png") if int(p.stem[3:]) == labelled.frame)
    header = "scorer,,,P,P\nbodyparts,,,nose,nose\ncoords,,,x,y\n"
    row = f"labeled-data,{folder.name},{image.name},1.0,2.0\n"
    (folder / "CollectedData_Pranav.csv").write_text(header + row)
    (sync,) = app.sync_labels()
    assert (sync.labelled, sync.new, sync.unknown) == (1, 1, 116)  # m4s1 is not in the archive
    spring = next(c for c in app.store.pools.season_counts() if c.season == "spring")
    assert (spring.labelled, spring.queued) == (1, 3)
    more = frames_of(app, app.make_queue("spring", budget=20).id)
    assert (labelled.video_id, labelled.frame) not in more


def test_labels_come_back_from_sleap_whoever_named_the_video(app: App, tmp_path: Path) -> None:
    project = tmp_path / "labels.slp"
    own = sleap_io.Skeleton(["nose"])
    seen = sleap_io.Video("/elsewhere/4.mp4", open_backend=False)  # of autumn, before alwatch
    placed = sleap_io.Instance.from_numpy(np.array([[5.0, 6.0]]), own)
    sleap_io.Labels([sleap_io.LabeledFrame(seen, 7, [placed])]).save(str(project))
    queue = app.make_queue("spring", budget=4)
    assert app.export(queue, "sleap", project).written == 4
    labels = sleap_io.load_slp(str(project), open_videos=False)
    first = labels.suggestions[0]
    assert (first.video.filename, first.frame_idx) == (
        str(queue.frames[0].video),
        queue.frames[0].frame,
    )
    made = sleap_io.Instance.from_numpy(np.array([[1.0, 2.0]]), labels.skeleton)
    labels.append(sleap_io.LabeledFrame(first.video, first.frame_idx, [made]))
    labels.save(str(project))
    (sync,) = app.sync_labels()
    assert (sync.labelled, sync.new, sync.unknown) == (2, 2, 0)
    points = app.store.labels.points()
    ((point,), (other,)) = (points[key] for key in sorted(points))
    assert {(p.x_px, p.y_px) for p in (point, other)} == {(1.0, 2.0), (5.0, 6.0)}
    assert (queue.frames[0].video_id, queue.frames[0].frame) in points
    with pytest.raises(NothingToDoError, match="1 of its 4 frames are labelled"):
        app.withdraw_queue(queue)


def test_coverage_rises_as_frames_are_labelled(app: App) -> None:
    before = {name: figures.coverage for name, figures in app.seasons().items()}
    assert set(before.values()) == {0.0}
    video_id = app.store.videos.listing("done")[0].id
    from alwatch.records import LabelledFrame

    labels = [(video_id, LabelledFrame(Path("/p"), "f", n, Path("/p"))) for n in range(0, 50, 5)]
    app.store.labels.set("deeplabcut", Path("/p"), labels, app.clock())
    after = {name: figures.coverage for name, figures in app.seasons().items()}
    assert max(after.values()) > 0
    assert all(0 <= share <= 1 for share in after.values())


def label_by_hand(app: App, project: Path) -> Path:
    """A queue in a folder, its first image labelled; returns the queue's folder."""
    app.export(app.make_queue("spring", budget=3), "folder", project)
    folder = next(project.glob("queue-*"))
    image = min(folder.glob("*.png")).name
    (folder / "labels.csv").write_text(f"image,bodypart,x,y\n{image},nose,5.0,6.0\n")
    return folder


@pytest.mark.parametrize("is_mounted_on", [False, True])
def test_labels_of_a_project_that_is_away_are_kept_and_its_queue_is_not_withdrawn(
    app: App, tmp_path: Path, is_mounted_on: bool
) -> None:
    project, away = tmp_path / "out", tmp_path / "away"
    label_by_hand(app, project)
    assert app.sync_labels()[0].new == 1
    known = app.store.labels.points()
    project.rename(away)
    if is_mounted_on:
        project.mkdir()
    (sync,) = app.sync_labels()
    assert "1 labels were read from" in str(sync.problem)
    assert app.store.labels.points() == known
    with pytest.raises(ExportError, match="Mount its drive"):
        app.withdraw_queue(app.get_queue(1))
    if is_mounted_on:
        project.rmdir()
    away.rename(project)
    (sync,) = app.sync_labels()
    assert (sync.labelled, sync.new, sync.gone) == (1, 0, 0)


def test_a_project_that_was_moved_is_known_at_its_new_place(app: App, tmp_path: Path) -> None:
    old, new = tmp_path / "out", tmp_path / "elsewhere" / "out 2"
    folder = label_by_hand(app, old)
    app.sync_labels()
    known = app.store.labels.points()
    new.parent.mkdir()
    old.rename(new)
    (sync,) = app.sync_labels()
    assert "If it was moved: `alwatch labels move OLD NEW`" in str(sync.problem)
    moved = app.move_project(old, new, None)
    assert (moved.project, moved.labelled, moved.new, moved.changed) == (new, 1, 0, 0)
    assert app.store.labels.points() == known
    (new / folder.name / "labels.csv").unlink()
    assert app.withdraw_queue(app.get_queue(1)) == 3
    assert list(new.iterdir()) == []
    assert not old.exists()


def test_a_project_is_not_moved_to_one_that_lacks_its_labels(app: App, tmp_path: Path) -> None:
    old, new = tmp_path / "out", tmp_path / "another"
    label_by_hand(app, old)
    app.sync_labels()
    with pytest.raises(NothingToDoError, match="it is still there"):
        app.move_project(old, new, None)
    old.rename(tmp_path / "away")
    with pytest.raises(ExportError, match=r"another from now on; nothing is there"):
        app.move_project(old, new, None)
    label_by_hand(app, new)
    with pytest.raises(NothingToDoError, match="lacks 1 of the 1 labels that were read before"):
        app.move_project(old, new, None)
    assert set(app.store.projects.known()) == {("folder", old), ("folder", new)}


@pytest.mark.parametrize("x_px", [5.0, 9.0])
def test_a_new_place_that_was_read_before_must_hold_the_same_labels(
    app: App, tmp_path: Path, x_px: float
) -> None:
    """So it is if the settings name the new place already; else it is another project's."""
    old, new = tmp_path / "out", tmp_path / "new"
    folder = label_by_hand(app, old)
    app.sync_labels()
    old.rename(new)
    table = new / folder.name / "labels.csv"
    table.write_text(table.read_text().replace("5.0", str(x_px)))
    app.export(app.get_queue(1), "folder", new)
    app.sync_labels()
    if x_px == 5:
        assert app.move_project(old, new, "folder").labelled == 1
        assert list(app.store.projects.known()) == [("folder", new)]
        return
    with pytest.raises(NothingToDoError, match="holds 1 of its labels otherwise"):
        app.move_project(old, new, "folder")
    assert len(app.store.projects.known()) == 2


def test_a_project_that_is_gone_for_good_is_forgotten_and_its_labels_are_kept(
    app: App, tmp_path: Path
) -> None:
    """Its labelled queue stays; another that lay in it only can be withdrawn."""
    project = tmp_path / "out"
    label_by_hand(app, project)
    app.sync_labels()
    known = app.store.labels.points()
    bare = app.make_queue("spring", budget=2)
    app.export(bare, "folder", project)
    shutil.rmtree(project)
    with pytest.raises(ExportError, match="if it is gone for good: `alwatch labels forget"):
        app.withdraw_queue(bare)
    to, was = app.forget_project(project, None, drops_labels=False, is_sure=False)
    assert (to, was.queues, was.labels) == ("folder", 2, 1)
    assert app.sync_labels() == []
    assert app.store.labels.points() == known
    assert app.withdraw_queue(bare) == 0
    with pytest.raises(NothingToDoError, match="1 of its 3 frames are labelled"):
        app.withdraw_queue(app.get_queue(1))


def test_labels_are_dropped_only_by_one_who_is_sure(app: App, tmp_path: Path) -> None:
    project = tmp_path / "out"
    label_by_hand(app, project)
    app.sync_labels()
    shutil.rmtree(project)
    with pytest.raises(SettingsError, match=r"the 1 labels that were read from .*add --yes"):
        app.forget_project(project, None, drops_labels=True, is_sure=False)
    assert len(app.store.labels.points()) == 1
    app.forget_project(project, None, drops_labels=True, is_sure=True)
    assert app.store.labels.points() == {}
    assert app.withdraw_queue(app.get_queue(1)) == 0


def test_a_forgotten_project_that_comes_back_is_read_again(app: App, tmp_path: Path) -> None:
    project, away = tmp_path / "out", tmp_path / "away"
    label_by_hand(app, project)
    app.sync_labels()
    project.rename(away)
    app.forget_project(project, None, drops_labels=False, is_sure=False)
    away.rename(project)
    assert app.sync_labels() == []
    back = make_app(tmp_path, SETTINGS + "exports: [{to: folder, project: out}]\n")
    (sync,) = back.sync_labels()
    assert (sync.labelled, sync.new, sync.unknown) == (1, 0, 0)
    ((_, _, exported),) = back.export_pending()
    assert isinstance(exported, Exported)
    assert (exported.written, exported.kept) == (0, 3)


def test_what_the_settings_name_is_neither_moved_nor_forgotten(app: App, tmp_path: Path) -> None:
    project = tmp_path / "out"
    label_by_hand(app, project)
    app.sync_labels()
    project.rename(tmp_path / "new")
    app = make_app(tmp_path, SETTINGS + "exports: [{to: folder, project: out}]\n")
    with pytest.raises(SettingsError, match=r"exports in .* still names .*out.*name .*new instead"):
        app.move_project(project, tmp_path / "new", None)
    with pytest.raises(SettingsError, match=r"remove it there first"):
        app.forget_project(project, None, drops_labels=False, is_sure=False)
    assert list(app.store.projects.known()) == [("folder", project)]


def test_a_project_known_by_two_tools_needs_the_tool_and_an_unknown_one_names_those_known(
    app: App, tmp_path: Path
) -> None:
    project = tmp_path / "out"
    queues = [app.make_queue("spring", budget=1) for _ in range(2)]
    for queue, to in zip(queues, ("folder", "coco"), strict=True):
        app.export(queue, to, project)
    with pytest.raises(SettingsError, match="known by coco and by folder; say which: --to"):
        app.forget_project(project, None, drops_labels=False, is_sure=False)
    app.forget_project(project, "coco", drops_labels=False, is_sure=False)
    assert list(app.store.projects.known()) == [("folder", project)]
    with pytest.raises(SettingsError, match=r"for coco; projects that are known: .*out \(folder"):
        app.forget_project(project, "coco", drops_labels=False, is_sure=False)


def test_what_a_killed_export_has_left_is_withdrawn_with_its_queue(
    app: App, tmp_path: Path
) -> None:
    """The process dies when the images are in place and the store has not heard of it."""
    config = make_project(tmp_path / "project")
    queue = app.make_queue("spring", budget=2)
    before = {path for path in (tmp_path / "project").rglob("*.png")}
    program = (
        "import os, sys\n"
        "from alwatch.cli import main\n"
        "from alwatch.labelling.deeplabcut import DeepLabCutProject\n"
        "DeepLabCutProject._list_videos = lambda self, placements: os._exit(9)\n"
        "main()\n"
    )
    arguments = ["export", str(queue.id), "--to", "deeplabcut", "--project", str(config)]
    command = [sys.executable, "-c", program, "--config", str(app.settings.source), *arguments]
    assert subprocess.run(command).returncode == 9
    assert len(list((tmp_path / "project").rglob("*.png"))) == len(before) + 2
    assert app.withdraw_queue(queue) == 2
    assert {path for path in (tmp_path / "project").rglob("*.png")} == before


def test_an_export_that_is_refused_is_not_remembered(app: App, tmp_path: Path) -> None:
    queue = app.make_queue("spring", budget=2)
    with pytest.raises(ExportError):
        app.export(queue, "deeplabcut", tmp_path / "no" / "config.yaml")
    assert app.sync_labels() == []
    assert app.withdraw_queue(queue) == 0


def test_labels_that_a_person_removes_are_gone(app: App, tmp_path: Path) -> None:
    folder = label_by_hand(app, tmp_path / "out")
    app.sync_labels()
    (folder / "labels.csv").unlink()
    (sync,) = app.sync_labels()
    assert (sync.gone, sync.problem) == (1, None)


@pytest.mark.parametrize("through_link", [False, True])
def test_nothing_is_exported_into_the_archive(app: App, tmp_path: Path, through_link: bool) -> None:
    project = tmp_path / "archive" / "out"
    if through_link:
        (tmp_path / "link").symlink_to(tmp_path / "archive")
        project = tmp_path / "link" / "out"
    queue = app.make_queue("spring", budget=1)
    with pytest.raises(SettingsError, match="must lie outside the archive folder"):
        app.export(queue, "folder", project)
    assert not (tmp_path / "archive" / "out").exists()


def test_names_that_are_no_text_are_labellers_and_folders_like_others(tmp_path: Path) -> None:
    name = os.fsdecode(b"Jos\xe9")
    app = make_app(tmp_path)
    video = make_video(tmp_path / "archive" / "s" / "a.mp4")
    video.rename(video.with_name(f"{name}.mp4"))
    Backfill(app, Recorder()).run([])
    config = make_project(tmp_path / "project")
    folder = config.parent / "labeled-data" / name
    folder.mkdir()
    header = "scorer,P,P\nbodyparts,nose,nose\ncoords,x,y\n"
    (folder / f"CollectedData_{name}.csv").write_text(f"{header}img05.png,1.0,2.0\n")
    app.export(app.make_queue("s", budget=1), "deeplabcut", config)
    for new in (1, 0):
        (sync,) = app.sync_labels()
        assert (sync.labelled, sync.new, sync.unknown) == (1, new, 0)
