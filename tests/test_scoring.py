"""Scoring an archive with a real exported model, by hand and by the daemon."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from alwatch.app import App
from alwatch.errors import NothingToDoError, SettingsError
from alwatch.records import LabelledFrame, LabelledPoint
from alwatch.scored import ranked_frames, snapshots_on_seasons
from alwatch.service import Backfill, score_now
from alwatch.sheet import draw_score_sheet
from alwatch.store import Store
from tests.pose_models.exported_files import export_colour_spots
from tests.pose_models.projects import copy_openfield
from tests.test_service import Recorder, daemon, until
from tests.videos import SETTINGS, make_app, make_video, write_settings

WITH_MODEL = SETTINGS + "pose_model: {kind: exported, project: model/spots.yaml, scan_s: 0.5}\n"


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
    snapshot = app.store.scores.current().snapshot
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


def test_a_file_that_changed_since_is_reported_and_the_others_are_scored(
    app: App, tmp_path: Path
) -> None:
    make_video(tmp_path / "archive/2024/2024.mp4", seed=9, colour=(255, 0, 0))
    summary = score_now(app, Recorder())
    assert summary is not None
    assert (summary.scored, summary.failed) == (1, 1)
    snapshot = app.store.scores.current().snapshot
    assert snapshot is not None
    ((_, reason),) = app.store.scores.failures(snapshot)
    assert "has changed since it was ingested" in reason


def test_a_model_that_is_gone_is_a_problem_of_the_model_not_of_the_videos(
    app: App, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(SettingsError, match=r"spots\.yaml"):
        score_now(app, Recorder())
    problem = app.store.scores.current().problem
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
    app = make_app(tmp_path, WITH_MODEL.replace("scan_s: 0.5", "scan_s: 0.5, change: true"))
    make_video(tmp_path / "archive/2024/a.mp4")
    Backfill(app, Recorder()).run([])
    score_now(app, Recorder())
    snapshot = app.store.scores.current().snapshot
    assert snapshot is not None
    scores = app.store.scores.of_video(1, snapshot)
    assert scores is not None
    assert scores.frame_indices.tolist() == list(range(0, 50, 5))  # no neighbour is kept
    assert scores.signals["change"].shape == (10, 2)


def test_the_models_true_error_is_that_to_peoples_points(app: App) -> None:
    score_now(app, Recorder())
    snapshot = app.store.scores.current().snapshot
    assert snapshot is not None
    scores = app.store.scores.of_video(1, snapshot, ["pose"])
    assert scores is not None
    x, y, _ = scores.signals["pose"][2, 0, 0]
    point = LabelledPoint("", "red", float(x) + 3, float(y) + 4)
    label = LabelledFrame(Path("/p"), "a", 10, Path("/p/labels.csv"), (point,))
    app.store.queues.set_labels("deeplabcut", Path("/p"), [(1, label)], app.clock())
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
            return len([s for s in store.scores.snapshots() if store.scores.scored_videos(s)])

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
            snapshot = store.scores.current().snapshot
            return len(store.scores.scored_videos(snapshot)) if snapshot else 0

    for wanted in (1, 2):
        with daemon(settings) as process:
            until(lambda n=wanted: n_scored() >= n, "scoring")  # type: ignore[misc]
            process.kill()
            process.wait()
    with daemon(settings):
        until(lambda: n_scored() == 4, "scoring the rest")
    with Store(tmp_path / "state") as store:
        snapshot = store.scores.current().snapshot
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
    snapshot = app.store.scores.current().snapshot
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


def test_a_sheet_of_score_maps_can_be_drawn(app: App, tmp_path: Path) -> None:
    score_now(app, Recorder())
    ranked = app.ranked_frames("mpe", None)
    draw_score_sheet(app, tmp_path / "sheet.png", ranked, count=2, by="mpe")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[1] == 4 * 320 + 3 * 8
    assert sheet.std() > 10


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
