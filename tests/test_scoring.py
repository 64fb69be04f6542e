"""Scoring an archive with a real exported model, by hand and by the daemon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pandas as pd
import pytest

from alwatch.app import App
from alwatch.errors import NothingToDoError, PoseModelError, SettingsError, VideoError
from alwatch.pose_models.sidecar import ExportedSource
from alwatch.promotion import CurrentPoseModel
from alwatch.protocols import SnapshotSource
from alwatch.records import FrameScores, LabelledFrame, LabelledPoint, LocatedSnapshot
from alwatch.scored import pool_scores, proved_trust, ranked_frames, snapshots_on_seasons
from alwatch.service import Backfill, score_now
from alwatch.sheet import draw_score_sheet
from alwatch.store import Store
from tests.pose_models.exported_files import export_colour_spots
from tests.pose_models.projects import copy_openfield
from tests.test_service import Recorder, daemon, until
from tests.videos import SETTINGS, make_app, make_video, write_settings


def with_model(more: str = "") -> str:
    return SETTINGS + (
        "pose_model: {kind: exported, project: model/spots.yaml, scan_s: 0.5, settle_s: 0.5"
        f"{', ' * bool(more)}{more}}}\n"
    )


WITH_MODEL = with_model()


@pytest.fixture
def app(tmp_path: Path) -> App:
    """Two seasons of one video each, ingested, and a pose model."""
    export_colour_spots(tmp_path / "model")
    app = make_app(tmp_path, WITH_MODEL)
    for seed, season in enumerate(("2024", "2025")):
        make_video(tmp_path / "archive" / season / f"{season}.mp4", seed=seed, colour=(255, 0, 0))
    Backfill(app, Recorder()).run([])
    return app


def test_every_frame_that_was_looked_at_is_scored_once(app: App) -> None:
    summary = score_now(app, Recorder())
    assert summary is not None
    assert (summary.scored, summary.frames, summary.failed) == (2, 20, 0)
    again = score_now(app, Recorder())
    assert again is not None
    assert (again.scored, again.known) == (0, 2)
    snapshot = app.store.snapshots.current().snapshot
    assert snapshot is not None
    scores = app.store.scores.of_video(1, snapshot)
    assert scores is not None
    assert scores.frame_indices.tolist() == list(range(0, 50, 5))
    assert scores.signals["pose"].shape == (10, 1, 2, 3)


def test_a_new_snapshot_scores_everything_again_and_the_old_scores_stay(
    app: App, tmp_path: Path
) -> None:
    score_now(app, Recorder())
    sidecar = tmp_path / "model" / "spots.yaml"
    sidecar.write_text(sidecar.read_text() + "# another version\n")
    summary = score_now(app, Recorder())
    assert summary is not None
    assert summary.scored == 2
    seasons = snapshots_on_seasons(app.store)
    assert len({row.snapshot.sha256 for row in seasons}) == 2
    assert {row.season for row in seasons} == {"2024", "2025"}
    assert all(row.frames == 10 for row in seasons)


def test_a_file_that_changed_since_waits_to_be_found_anew_and_the_others_are_scored(
    app: App, tmp_path: Path
) -> None:
    make_video(tmp_path / "archive/2024/2024.mp4", seed=9, n_frames=20, colour=(255, 0, 0))
    summary = score_now(app, Recorder())
    assert summary is not None
    assert (summary.scored, summary.failed, summary.gone) == (1, 0, 1)
    assert "run `alwatch ingest`" in summary.sentence()
    Backfill(app, Recorder()).run([])
    summary = score_now(app, Recorder())
    assert summary is not None
    assert (summary.scored, summary.gone) == (1, 0)


def test_frames_of_overwritten_content_are_not_shown_under_the_new_ones_name(
    app: App, tmp_path: Path
) -> None:
    score_now(app, Recorder())
    make_video(tmp_path / "archive/2024/2024.mp4", seed=9, n_frames=20, colour=(255, 0, 0))
    Backfill(app, Recorder()).run([])
    score_now(app, Recorder())
    ranked = app.ranked_frames("mpe", "2024")
    assert sorted(frame.frame for frame in ranked) == [0, 5, 10, 15]
    (row,) = [row for row in app.snapshots_on_seasons() if row.season == "2024"]
    assert row.frames == 4


def test_an_archive_that_is_away_for_a_while_fails_no_video(app: App, tmp_path: Path) -> None:
    (tmp_path / "archive").rename(tmp_path / "away")
    summary = score_now(app, Recorder())
    assert summary is not None
    assert (summary.scored, summary.failed, summary.gone) == (0, 0, 2)
    (tmp_path / "away").rename(tmp_path / "archive")
    Backfill(app, Recorder()).run([])
    summary = score_now(app, Recorder())
    assert summary is not None
    assert (summary.scored, summary.failed, summary.gone) == (2, 0, 0)


def children(of: int) -> list[int]:
    return [int(pid) for task in Path(f"/proc/{of}/task").iterdir()
            for pid in (task / "children").read_text().split()]  # fmt: skip


class KillsTheWorker(Recorder):
    """Makes the model unloadable and kills its worker when the first video has ended."""

    def __init__(self, flag: Path) -> None:
        super().__init__()
        self._flag = flag

    def end(self, outcome: object) -> None:
        super().end(outcome)
        self._flag.touch()
        for pid in children(os.getpid()):
            os.kill(pid, signal.SIGKILL)


def test_a_model_that_cannot_be_loaded_again_is_not_the_videos_fault(tmp_path: Path) -> None:
    export_colour_spots(tmp_path / "model")
    flag, python = tmp_path / "no-memory", tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ -e {flag} ] && exit 3\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    app = make_app(tmp_path, with_model(f"python: {python}"))
    for seed in range(3):
        make_video(tmp_path / f"archive/2024/{seed}.mp4", seed=seed)
    Backfill(app, Recorder()).run([])
    with pytest.raises(PoseModelError, match="could not be loaded: its worker ended"):
        score_now(app, KillsTheWorker(flag))
    assert "could not be loaded" in str(app.store.snapshots.current().problem)
    flag.unlink()
    summary = score_now(app, Recorder())
    assert summary is not None
    assert (summary.known, summary.scored, summary.failed) == (1, 2, 0)


def test_three_videos_in_a_row_that_cannot_be_scored_are_the_models_fault(tmp_path: Path) -> None:
    """Else a graphics card that another program fills would fail a whole archive in minutes."""
    export_colour_spots(tmp_path / "model")
    app = make_app(tmp_path, with_model("stall_s: 0.001, batch_size: 1, attempts: 5"))
    for seed in range(4):
        make_video(tmp_path / f"archive/2024/{seed}.mp4", seed=seed)
    Backfill(app, Recorder()).run([])
    with pytest.raises(PoseModelError, match="3 videos in a row could not be scored"):
        score_now(app, Recorder())
    snapshot = app.store.snapshots.current().snapshot
    assert snapshot is not None
    assert app.store.scores.failures(snapshot) == []


def test_a_video_that_ends_alwatch_again_and_again_is_left_alone(app: App) -> None:
    model = app.current_pose_model()
    assert model is not None
    snapshot = model.look()
    assert snapshot is not None
    for _ in range(app.settings.pose_model.attempts):  # as many daemons died at it
        assert app.store.scores.claim(snapshot, app.clock()) is not None
        other = app.store.scores.claim(snapshot, app.clock())
        if other is not None:
            app.store.scores.set_aside(other.video_id, snapshot, "failed", "", app.clock())
        app.store.scores.recover(app.clock())
    outcome = model.work_once()
    model.close()
    assert outcome is not None
    assert outcome.state == "failed"
    assert "ended 2 times" in str(outcome.reason)


def test_a_signal_that_is_switched_on_later_is_computed_for_all(app: App, tmp_path: Path) -> None:
    score_now(app, Recorder())
    app.close()
    app = make_app(tmp_path, with_model("flip: true"))
    summary = score_now(app, Recorder())
    assert summary is not None
    assert summary.scored == 2
    assert len(app.ranked_frames("flip", None)) > 0
    again = score_now(app, Recorder())
    assert again is not None
    assert again.scored == 0


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def current_model(app: App, source: SnapshotSource, timer: Clock) -> CurrentPoseModel:
    def load(located: object) -> NoReturn:
        raise AssertionError("nothing waits to be scored")

    return CurrentPoseModel(
        app.store, source, load, read_labels=list, gate=None, scan_s=60.0, settle_s=600.0,
        signals=frozenset(), clock=app.clock, timer=timer,
    )  # fmt: skip


def test_a_snapshot_must_rest_before_it_replaces_another(tmp_path: Path) -> None:
    """A training that still runs writes a better one every few minutes."""
    sidecar = export_colour_spots(tmp_path / "model")
    timer = Clock()
    model = current_model(make_app(tmp_path), ExportedSource(sidecar), timer)
    first = model.look()
    assert first is not None  # there was none: nothing to wait for
    for minute in range(1, 30):
        timer.now_s = 60.0 * minute
        if minute in (5, 12):
            sidecar.write_text(sidecar.read_text() + f"# after {minute} epochs\n")
        assert (model.look() != first) == (minute >= 22), minute


def test_whatever_looking_for_a_model_stumbles_over_is_told_and_tried_again(tmp_path: Path) -> None:
    class Stumbling:
        def find(self) -> LocatedSnapshot:
            raise ZeroDivisionError("no such luck")

        def verify(self, located: LocatedSnapshot) -> LocatedSnapshot:
            return located

    app, timer = make_app(tmp_path), Clock()
    model = current_model(app, Stumbling(), timer)
    assert model.look() is None
    assert isinstance(model.fault, PoseModelError)
    assert "no such luck" in str(app.store.snapshots.current().problem)
    timer.now_s = 100.0
    assert model.look() is None


def test_a_model_that_is_gone_is_a_problem_of_the_model_not_of_the_videos(
    app: App, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(SettingsError, match=r"spots\.yaml"):
        score_now(app, Recorder())
    problem = app.store.snapshots.current().problem
    assert problem is not None
    export_colour_spots(tmp_path / "model")
    summary = score_now(app, Recorder())
    assert summary is not None
    assert (summary.scored, summary.failed) == (2, 0)


def test_without_a_pose_model_there_is_nothing_to_score(tmp_path: Path) -> None:
    with pytest.raises(NothingToDoError, match=r"pose_model\.kind is none"):
        score_now(make_app(tmp_path), Recorder())


def test_change_is_measured_to_the_next_frame_of_the_video(tmp_path: Path) -> None:
    export_colour_spots(tmp_path / "model")
    app = make_app(tmp_path, with_model("change: true"))
    make_video(tmp_path / "archive/2024/a.mp4")
    Backfill(app, Recorder()).run([])
    score_now(app, Recorder())
    snapshot = app.store.snapshots.current().snapshot
    assert snapshot is not None
    scores = app.store.scores.of_video(1, snapshot)
    assert scores is not None
    assert scores.frame_indices.tolist() == list(range(0, 50, 5))  # no neighbour is kept
    assert scores.signals["change"].shape == (10, 2)


def test_the_models_true_error_is_that_to_peoples_points(app: App) -> None:
    score_now(app, Recorder())
    snapshot = app.store.snapshots.current().snapshot
    assert snapshot is not None
    scores = app.store.scores.of_video(1, snapshot, ["pose"])
    assert scores is not None
    x, y, _ = scores.signals["pose"][2, 0, 0]
    point = LabelledPoint("", "red", float(x) + 3, float(y) + 4)
    label = LabelledFrame(Path("/p"), "a", 10, Path("/p/labels.csv"), (point,))
    app.store.labels.set("deeplabcut", Path("/p"), [(1, label)], app.clock())
    row = next(row for row in snapshots_on_seasons(app.store) if row.season == "2024")
    assert row.labelled_frames == 1
    assert row.error_px == pytest.approx(5.0, abs=1e-4)


def test_the_daemon_scores_what_it_ingests_and_again_when_the_model_changes(
    tmp_path: Path,
) -> None:
    export_colour_spots(tmp_path / "model")
    settings = write_settings(tmp_path, WITH_MODEL)
    make_video(tmp_path / "archive/2024/a.mp4")

    def n_done() -> int:
        with Store(tmp_path / "state") as store:
            return len([s for s in store.snapshots.scored() if store.scores.scored_videos(s)])

    with daemon(settings):
        until(lambda: n_done() == 1, "scoring")
        sidecar = tmp_path / "model" / "spots.yaml"
        sidecar.write_text(sidecar.read_text() + "# retrained\n")
        until(lambda: n_done() == 2, "scoring again")


def test_a_daemon_killed_while_scoring_loses_nothing(tmp_path: Path) -> None:
    export_colour_spots(tmp_path / "model")
    settings = write_settings(tmp_path, WITH_MODEL)
    for seed in range(4):
        make_video(tmp_path / f"archive/2024/{seed}.mp4", seed=seed)

    def n_scored() -> int:
        with Store(tmp_path / "state") as store:
            snapshot = store.snapshots.current().snapshot
            return len(store.scores.scored_videos(snapshot)) if snapshot else 0

    for wanted in (1, 2):
        with daemon(settings) as process:
            until(lambda n=wanted: n_scored() >= n, "scoring")  # type: ignore[misc]
            process.kill()
            process.wait()
    with daemon(settings):
        until(lambda: n_scored() == 4, "scoring the rest")
    with Store(tmp_path / "state") as store:
        snapshot = store.snapshots.current().snapshot
        assert snapshot is not None
        for video_id, _ in store.scores.scored_videos(snapshot):
            scores = store.scores.of_video(video_id, snapshot)
            assert scores is not None
            assert len(scores.frame_indices) == 10
            assert all(len(array) == 10 for array in scores.signals.values())


@pytest.mark.filterwarnings("ignore")
def test_the_openfield_project_is_scored_end_to_end(data_dir: Path, tmp_path: Path) -> None:
    """A real DeepLabCut 3 project by its trained snapshot, from video to ranked frames."""
    config = copy_openfield(data_dir, tmp_path / "openfield")
    (tmp_path / "archive" / "2018").mkdir(parents=True)
    shutil.copy(config.parent / "videos/m3v1mp4.mp4", tmp_path / "archive/2018/m3.mp4")
    app = make_app(
        tmp_path,
        SETTINGS.replace("{rate_hz: 5}", "{stride: 290}")
        + f"pose_model: {{kind: deeplabcut, project: {config}, device: cpu}}\n",
    )
    Backfill(app, Recorder()).run([])
    summary = score_now(app, Recorder())
    assert summary is not None
    assert (summary.scored, summary.frames, summary.snapshot) == (1, 9, "snapshot-best-100")
    snapshot = app.store.snapshots.current().snapshot
    assert snapshot is not None
    scores = app.store.scores.of_video(1, snapshot)
    assert scores is not None
    assert scores.signals["mpe"].shape == (9, 4)
    assert scores.frame_indices.tolist() == list(range(0, 2330, 290))
    ranked = ranked_frames(app.store, snapshot, by="mpe")
    assert {frame.bodypart for frame in ranked} <= set(snapshot.bodyparts)
    # Three models that were trained far longer: where the snapshot is sure, it agrees with them.
    table = pd.read_hdf(next((data_dir / "dlc-primer").glob("*shuffle1*.h5")))
    truth = table.to_numpy().reshape(-1, 4, 3)[scores.frame_indices]
    distance_px = np.linalg.norm(scores.signals["pose"][:, 0, :, :2] - truth[..., :2], axis=2)
    sure = (scores.signals["confidence"] > 0.6) & (truth[..., 2] > 0.9)
    assert sure.sum() >= 5
    assert np.median(distance_px[sure]) < 10


@pytest.mark.parametrize("strategy", ["mpe", "uncertainty_herding", "balanced_herding"])
def test_a_queue_may_be_chosen_by_what_the_model_says(app: App, strategy: str) -> None:
    score_now(app, Recorder())
    queue = app.make_queue("2024", budget=4, strategy=strategy)
    assert len(queue.frames) == 4
    assert queue.manifest["trust"] == 0.0  # nobody has labelled anything yet


def test_a_strategy_without_its_scores_says_what_to_do(app: App) -> None:
    with pytest.raises(NothingToDoError, match=r"chooses by mpe.*let `alwatch score` work first"):
        app.make_queue("2024", budget=4, strategy="mpe")
    assert app.store.queues.summaries() == []


def test_the_pool_is_scored_frame_by_frame_and_unscored_frames_are_unknown(app: App) -> None:
    score_now(app, Recorder())
    snapshot = app.store.snapshots.current().snapshot
    assert snapshot is not None
    scores = app.store.scores.of_video(1, snapshot, ["confidence"])
    assert scores is not None
    wanted = pool_scores(app.store, snapshot, np.array([1, 1, 1, 99]), np.array([5, 6, 45, 0]))[
        "confidence"
    ]
    unsure = 1 - scores.signals["confidence"].min(axis=1)  # a quarter of two bodyparts is one
    np.testing.assert_allclose(wanted, [unsure[1], np.nan, unsure[9], np.nan], rtol=1e-6)


def test_doubt_is_trusted_by_the_labels_that_came_after_the_snapshot(app: App) -> None:
    """The model is off by as many pixels as it lacks confidence, and puts all at (10, 20)."""
    model = app.current_pose_model()
    assert model is not None
    snapshot = model.look()
    assert snapshot is not None
    labels = []
    while claim := app.store.scores.claim(snapshot, app.clock()):
        n = len(claim.frame_indices)
        doubt = np.linspace(0.1, 0.9, n, dtype=np.float32)
        pose = np.tile(np.array([10, 20, 0.5], np.float32), (n, 1, 2, 1))
        signals = {"confidence": np.stack([1 - doubt, np.ones(n)], 1).astype("f4"), "pose": pose}
        scored = FrameScores(claim.frame_indices, signals)
        app.store.scores.finish(claim, snapshot, scored, elapsed_s=1.0, now=app.clock())
        for frame, off in zip(claim.frame_indices.tolist(), doubt.tolist(), strict=True):
            point = LabelledPoint("", "red", 10 + 50 * off, 20.0)
            label = LabelledFrame(Path("/p"), "a", frame, Path("/p/l.csv"), (point,))
            labels.append((claim.video_id, label))
    before = app.clock() - timedelta(days=1)
    app.store.labels.set("deeplabcut", Path("/p"), labels, before)
    assert proved_trust(app.store, snapshot) == 0.0  # it may have been trained on these
    app.store.labels.set("deeplabcut", Path("/p"), [], app.clock())
    app.store.labels.set("deeplabcut", Path("/p"), labels, app.clock())
    assert proved_trust(app.store, snapshot) == 0.0  # who knows how old they are
    first = [
        (video_id, LabelledFrame(Path("/p"), "a", 1, Path("/p/l.csv"), (point,)))
        for video_id in {video_id for video_id, _ in labels}
    ]
    app.store.labels.set("deeplabcut", Path("/p"), first, app.clock())
    app.store.labels.set("deeplabcut", Path("/p"), first + labels, app.clock())
    # In the same order, and 20 frames prove half of it.
    assert proved_trust(app.store, snapshot) == pytest.approx(0.5)


def test_a_sheet_of_score_maps_can_be_drawn(app: App, tmp_path: Path) -> None:
    score_now(app, Recorder())
    ranked = app.ranked_frames("mpe", None)
    draw_score_sheet(app, tmp_path / "sheet.png", ranked, count=2, by="mpe")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[1] == 4 * 320 + 3 * 8
    assert sheet.std() > 10


def test_a_sheet_is_not_drawn_by_another_model_than_the_one_that_ranked(
    app: App, tmp_path: Path
) -> None:
    score_now(app, Recorder())
    ranked = app.ranked_frames("mpe", None)
    sidecar = tmp_path / "model" / "spots.yaml"
    sidecar.write_text(sidecar.read_text() + "# retrained\n")
    with pytest.raises(PoseModelError, match=r"files were overwritten .*; let `alwatch score` w"):
        draw_score_sheet(app, tmp_path / "sheet.png", ranked, count=2, by="mpe")
    assert not (tmp_path / "sheet.png").exists()


def test_a_sheet_is_not_drawn_of_a_file_that_has_changed(app: App, tmp_path: Path) -> None:
    score_now(app, Recorder())
    ranked = app.ranked_frames("mpe", "2024")
    make_video(tmp_path / "archive/2024/2024.mp4", seed=9)
    with pytest.raises(VideoError, match="has changed since it was ingested"):
        draw_score_sheet(app, tmp_path / "sheet.png", ranked, count=2, by="mpe")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--season", "2052"], "--season is '2052'; seasons that exist: 2024, 2025"),
        (["--sheet", "no/such/folder/a.png"], "its folder is not there"),
        (["--top", "3", "--by", "novelty"], "needs 3 of them"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(
    app: App, tmp_path: Path, options: list[str], message: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "alwatch", "--config", str(tmp_path / "alwatch.yaml"), "score",
         *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode in (1, 2)
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_influence_needs_no_pose_model(app: App, tmp_path: Path) -> None:
    settings = write_settings(tmp_path, SETTINGS)
    ran = subprocess.run(
        [sys.executable, "-m", "alwatch", "--config", str(settings), "score", "--top", "2",
         "--by", "influence", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(json.loads(ran.stdout)["frames"]) == 2


def test_the_command_lists_frames_as_json(app: App, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "alwatch", "--config", str(tmp_path / "alwatch.yaml"), "score",
         "--top", "3", "--season", "2025", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer = json.loads(ran.stdout)
    assert answer["scoring"]["scored"] == 2
    assert len(answer["frames"]) == 3
    assert all("2025" in row["video"] for row in answer["frames"])
    status = subprocess.run(
        [sys.executable, "-m", "alwatch", "--config", str(tmp_path / "alwatch.yaml"), "status",
         "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    model = json.loads(status.stdout)["pose_model"]
    assert (model["snapshot"], model["videos_done"], model["videos_left"]) == ("spots", 2, 0)
