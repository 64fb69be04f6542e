from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from alwatch.cli import alwatch, main
from alwatch.records import LabelledFrame, LabelledPoint
from alwatch.seasons import Drift, Interval, SeasonFigures
from alwatch.store import Store
from tests.videos import SETTINGS, make_video, write_settings


class Cli:
    """Runs commands in a folder, as a person does."""

    def __init__(
        self,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.folder, self._capsys, self._monkeypatch = folder, capsys, monkeypatch
        self.out = self.err = ""

    def __call__(self, *arguments: object) -> int:
        self._monkeypatch.setattr(sys, "argv", ["alwatch", *map(str, arguments)])
        self._capsys.readouterr()  # what others have printed
        with pytest.raises(SystemExit) as ended:
            main()
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        assert isinstance(ended.value.code, int)
        return ended.value.code

    def json(self, *arguments: object) -> dict:  # type: ignore[type-arg]
        code = self(*arguments, "--json")
        assert code in (0, 1), self.err
        return json.loads(self.out)  # type: ignore[no-any-return]


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return Cli(tmp_path, capsys, monkeypatch)


@pytest.fixture
def archive(cli: Cli) -> Cli:
    """An ingested archive of two videos."""
    write_settings(cli.folder)
    for seed in range(2):
        make_video(cli.folder / "archive" / "s" / f"{seed}.mp4", seed=seed)
    assert cli("ingest") == 0
    return cli


def test_from_nothing_to_a_queue(cli: Cli) -> None:
    make_video(cli.folder / "videos" / "a.mp4", n_frames=250)
    assert cli("init", "--archive", "videos") == 0
    assert cli("ingest") == 0
    (season,) = cli.json("status")["seasons"]
    assert cli("queue", season["season"], "--budget", 2) == 0
    assert "2 frames" in cli.out


def test_init_does_not_overwrite(cli: Cli) -> None:
    (cli.folder / "alwatch.yaml").write_text("mine")
    assert cli("init") == 2
    assert (cli.folder / "alwatch.yaml").read_text() == "mine"


def test_without_settings_it_says_where_it_looked(cli: Cli) -> None:
    assert cli("status") == 2
    assert "alwatch init" in cli.err
    assert "/etc/alwatch/alwatch.yaml" in cli.err


def test_all_faults_of_the_settings_are_said_at_once(cli: Cli) -> None:
    text = SETTINGS + "embedding: {modle: hog}\nexports: 5\n"
    write_settings(cli.folder, text.replace("rate_hz: 5", "rate_hz: -5"))
    assert cli("status") == 2
    assert "sampling.rate_hz is -5" in cli.err
    assert "did you mean embedding.model" in cli.err
    assert "exports is 5" in cli.err


def test_status_has_the_promised_shape(archive: Cli) -> None:
    status = archive.json("status")
    zeros = {"partial": 0, "quarantined": 0, "waiting": 0, "offline": 0}
    assert status["videos"] == {"done": 2, **zeros}
    assert (status["frames"], status["vectors"]) == (20, 20)
    assert (status["embedder"], status["snapshot"]) == ("hog", None)
    (season,) = status["seasons"]
    assert {k: season[k] for k in ("season", "videos", "frames", "labelled", "queued")} == {
        "season": "s", "videos": 2, "frames": 20, "labelled": 0, "queued": 0,
    }  # fmt: skip
    assert status["queues"] == []


def test_a_queue_has_the_promised_shape(archive: Cli) -> None:
    queue = archive.json("queue", "s", "--budget", 3, "--strategy", "stride", "--seed", 4)
    assert (queue["season"], queue["strategy"], queue["seed"]) == ("s", "stride", 4)
    assert [frame["rank"] for frame in queue["frames"]] == [1, 2, 3]
    for frame in queue["frames"]:
        assert set(frame) == {"video", "frame", "rank", "score", "reason"}
        assert Path(frame["video"]).is_file()
    assert queue["review"] == []
    assert queue["policy"] is None
    assert archive.json("status")["queues"][0]["queue"] == queue["queue"]


def test_frames_that_are_left_out_are_listed_below_the_queue(cli: Cli) -> None:
    write_settings(cli.folder, SETTINGS.replace("queue: {", "queue: {outlier_share: 0.1, "))
    video = make_video(cli.folder / "archive" / "s" / "a.mp4", hand_at=20)
    assert cli("ingest") == 0
    (left_out,) = cli.json("queue", "s", "--budget", 2)["review"]
    assert (left_out["video"], left_out["frame"]) == (str(video), 20)
    assert cli("queue", "s", "--budget", 2) == 0
    queued, below = cli.out.split("\n\n")
    assert below.startswith("Left out, the most outlying first, to be looked at:\nframe  video")
    assert "\n20     a.mp4  unlike any other frame of its video (distance " in below
    assert "unlike any other" not in queued


def test_a_queue_by_the_bandit_says_which_strategy_it_is_and_why(archive: Cli) -> None:
    write_settings(archive.folder, SETTINGS.replace("queue: {", "queue: {audit_share: 0, "))
    assert archive("queue", "s", "--strategy", "bandit") == 2
    assert "queue.audit_share is 0, which of 20 frames is none" in archive.err
    write_settings(archive.folder, SETTINGS.replace("queue: {", "queue: {audit_share: 0.5, "))
    queue = archive.json("queue", "s", "--budget", 2, "--strategy", "bandit")
    assert queue["strategy"] in queue["policy"]["arms"] == ["herding", "stride", "kmeans"]
    assert queue["policy"]["rewarded_rounds"] == {"herding": 0, "stride": 0, "kmeans": 0}
    assert archive("queue", "s", "--budget", 2, "--strategy", "bandit") == 0
    assert re.search(r"^bandit chose \w+; .*herding not known, stride not known", archive.out, re.M)


def test_an_empty_season_is_the_answer_no(archive: Cli) -> None:
    assert archive("queue", "winter") == 1
    assert "seasons that exist: s" in archive.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["queue", "s", "--budget", "0"],
        ["queue", "s", "--strategy", "mimax"],
        ["export", "1"],
        ["export", "7", "--to", "folder", "--project", "x"],
        ["export", "1", "--to", "folder"],
        ["export", "1", "--to", "sleep", "--project", "x"],
        ["similar", "archive/s/0.mp4", "5000"],
        ["ingest", "not-there.mp4"],
        ["nonsense"],
        ["export", "9" * 20, "--to", "folder", "--project", "x"],
        ["queue", "s", "--seed", "9" * 20],
        ["--config", "missing.yaml", "status"],
    ],
)
def test_wrong_usage_is_one_clear_line_and_exit_code_2(archive: Cli, arguments: list[str]) -> None:
    archive("queue", "s", "--budget", "1")
    assert archive(*arguments) == 2
    assert archive.err.strip()


def test_export_to_a_folder(archive: Cli) -> None:
    archive("queue", "s", "--budget", "2")
    result = archive.json("export", "1", "--to", "folder", "--project", "out")
    assert (result["to"], result["written"]) == ("folder", 2)
    assert len(list((archive.folder / "out").rglob("*.png"))) == 2


def test_options_may_come_before_the_season(archive: Cli) -> None:
    assert len(archive.json("queue", "--budget", 2, "s")["frames"]) == 2
    assert len(archive.json("queue", "make", "s", "--budget", 3)["frames"]) == 3


def test_a_queue_is_listed_shown_and_withdrawn(archive: Cli) -> None:
    assert archive("queue", "list") == 0
    assert "No queue has been made yet" in archive.out
    made = archive.json("queue", "s", "--budget", 3)
    (archive.folder / "out").mkdir()
    assert archive("export", 1, "--to", "folder", "--project", "out") == 0
    (row,) = archive.json("queue", "list")["queues"]
    assert (row["frames"], row["labelled"], row["state"]) == (3, 0, "out")
    assert archive.json("queue", "show", 1) == made
    assert archive("queue", "show", 2) == 2
    assert archive.json("queue", "withdraw", 1) == {"queue": 1, "removed": 3}
    (row,) = archive.json("queue", "list")["queues"]
    assert (row["state"], row["exported_to"]) == ("withdrawn", [])
    assert archive("export", 1, "--to", "folder", "--project", "out") == 3
    assert "was withdrawn on" in archive.err


def test_a_queue_is_drawn_as_a_page(archive: Cli) -> None:
    queue = archive.json("queue", "s", "--budget", 4)
    assert archive("queue", "show", 1, "--page", "queue.html") == 0
    assert "Wrote queue.html." in archive.out
    page = (archive.folder / "queue.html").read_text()
    assert all(frame["reason"] in page for frame in queue["frames"])
    assert "alwatch queue s --budget 4 --seed 0 --strategy herding" in page
    assert archive("queue", "show", 1, "--page", "no/such/queue.html") == 2
    assert "its folder is not there" in archive.err
    Path(queue["frames"][0]["video"]).unlink()
    assert archive("queue", "show", 1, "--page", "again.html") == 3
    assert not (archive.folder / "again.html").exists()


def test_a_page_leaves_out_the_videos_that_are_gone(archive: Cli) -> None:
    queue = archive.json("queue", "s", "--budget", 4)
    gone = Path(queue["frames"][0]["video"])
    with Store(archive.folder / "state") as store:
        video = store.videos.at(gone)
        assert video is not None
        file = store.videos.file_of(video.id)
        assert file is not None
        store.videos.mark_absent(file)
    n_gone = sum(frame["video"] == str(gone) for frame in queue["frames"])
    assert archive("queue", "show", 1, "--page", "queue.html") == 0
    assert f"{n_gone} frames are not on it" in archive.err


@pytest.fixture
def labelled(archive: Cli) -> Cli:
    """A queue in the folder `out`, one of its frames labelled."""
    archive("queue", "s", "--budget", 2)
    assert archive("export", 1, "--to", "folder", "--project", "out") == 0
    folder = archive.folder / "out" / "queue-0001"
    image = min(folder.glob("*.png")).name
    (folder / "labels.csv").write_text(f"image,bodypart,x,y\n{image},nose,5.0,6.0\n")
    assert archive("labels", "sync") == 0
    return archive


def test_a_project_that_was_moved_is_no_problem_once_that_is_told(labelled: Cli) -> None:
    (labelled.folder / "out").rename(labelled.folder / "new")
    assert labelled("labels", "sync") == 3
    assert "`alwatch labels move OLD NEW`" in labelled.err
    assert labelled("labels", "move", "out", "nowhere") == 3
    assert labelled("labels", "move", "out", "new", "--to", "coco") == 2
    result = labelled.json("labels", "move", "out", "new")
    assert result == {
        "old": str(labelled.folder / "out"), "to": "folder",
        "project": str(labelled.folder / "new"), "labelled": 1, "new": 0, "changed": 0, "gone": 0,
        "unknown": 0, "problem": None,
    }  # fmt: skip
    assert labelled("labels", "sync") == 0
    (row,) = labelled.json("queue", "list")["queues"]
    assert (row["labelled"], row["exported_to"]) == (1, ["folder"])
    (labelled.folder / "new").rename(labelled.folder / "out")
    assert labelled("labels", "move", "new", "out") == 0
    assert "1 labels, of which 0 are new" in labelled.out
    assert labelled("labels", "move", "out", "new") == 1
    assert "it is still there" in labelled.err


def test_a_project_that_is_gone_is_no_problem_once_it_is_forgotten(labelled: Cli) -> None:
    shutil.rmtree(labelled.folder / "out")
    assert labelled("labels", "sync") == 3
    assert labelled("labels", "forget", "out", "--labels", "drop") == 2
    assert "add --yes" in labelled.err
    kept = labelled.json("labels", "forget", "out")
    assert kept == {
        "to": "folder", "project": str(labelled.folder / "out"), "queues": 1, "labels": 1,
        "dropped": False,
    }  # fmt: skip
    assert labelled("labels", "sync") == 0
    assert labelled("queue", "withdraw", 1) == 1
    assert labelled("labels", "forget", "out", "--labels", "drop", "--yes") == 0
    assert "0 queues lay in it; the 1 labels that were read from it are dropped" in labelled.out
    assert labelled.json("queue", "withdraw", 1) == {"queue": 1, "removed": 0}
    assert labelled("labels", "forget", "out") == 2


def test_labels_that_disagree_are_listed_and_the_answer_is_1(archive: Cli) -> None:
    assert archive("labels", "conflicts") == 0
    with Store(archive.folder / "state") as store:
        for name, x_px in (("Ana", 5.0), ("Bo", 30.0)):
            point = LabelledPoint("", "nose", x_px, 4.0)
            label = LabelledFrame(Path("/p"), "0", 3, Path("/p"), (point,), name)
            store.labels.set("sleap", Path(f"/of {name}"), [(1, label)], datetime.now(UTC))
    assert archive("labels", "conflicts") == 1
    assert "Ana in of Ana" in archive.out
    (conflict,) = archive.json("labels", "conflicts")["conflicts"]
    assert (conflict["frame"], conflict["bodypart"], conflict["distance_px"]) == (3, "nose", 25.0)


def test_export_to_a_project_that_is_not_there_is_retryable(archive: Cli) -> None:
    archive("queue", "s", "--budget", "2")
    assert archive("export", "1", "--to", "deeplabcut", "--project", "no/config.yaml") == 3
    assert "config.yaml" in archive.err


def test_similar_leaves_the_frame_itself_out_and_names_a_stand_in(archive: Cli) -> None:
    video = archive.folder / "archive" / "s" / "0.mp4"
    found = archive.json("similar", video, "7", "-k", "3")
    assert found["frame"] == 5
    assert len(found["similar"]) == 3
    assert (str(video), 5) not in {(hit["video"], hit["frame"]) for hit in found["similar"]}
    similarities = [hit["similarity"] for hit in found["similar"]]
    assert similarities == sorted(similarities, reverse=True)
    assert archive("similar", "unknown.mp4", "0") == 1


def test_reindex_says_what_it_did(archive: Cli) -> None:
    assert archive("reindex") == 0
    assert "20 frames (flat, recall 1.000)" in archive.out


def test_seasons_and_labels_answer_as_text_and_json(archive: Cli) -> None:
    assert archive("seasons") == 0
    assert archive.json("seasons")["seasons"][0]["coverage"] == 0.0
    assert archive("labels", "sync") == 0
    assert archive.json("labels", "sync") == {"projects": []}


def test_a_season_is_shown_in_words_with_the_history_of_its_states(archive: Cli) -> None:
    with Store(archive.folder / "state") as store:
        store.seasons.enter("s", "quiet", "nothing is asked for", datetime.now(UTC))
        store.seasons.enter("s", "needs labels", "drift at 2 looks", datetime.now(UTC))
    assert archive("seasons", "show", "s") == 0
    assert re.match(r"Season s: needs labels since \S+: drift at 2 looks", archive.out)
    assert "0 % of the frames lie near a labelled frame" in archive.out
    assert "Not looked at yet" in archive.out
    assert "nothing is asked for" in archive.out
    shown = archive.json("seasons", "show", "s")
    assert (shown["state"], shown["coverage"], shown["drift"]) == ("needs labels", 0.0, [])
    assert [change["state"] for change in shown["history"]] == ["quiet", "needs labels"]
    assert archive.json("seasons", "list")["seasons"][0]["state"] == "needs labels"
    assert archive("seasons", "show", "winter") == 2
    assert "SEASON is 'winter'; seasons that exist: s" in archive.err


def test_status_shows_what_was_found_last_and_why(archive: Cli) -> None:
    (before,) = archive.json("status")["seasons"]
    assert (before["state"], before["coverage"], before["assessed_at"]) == ("needs labels",) + (
        None,
    ) * 2
    found = Drift("embeddings", 0.002, 0.005, 4.0, 9, 4, True, (("/v/odd.mp4", 3.0),))
    error = Interval(12.0, 9.0, math.inf, 5, 1)
    figures = SeasonFigures(
        2, 20, 0, 0, 0, 0.35, error_px=error, drift=(found,), novel_videos=(("/v/new.mp4", 0.04),)
    )
    with Store(archive.folder / "state") as store:
        store.seasons.assess("s", "inputs", figures.as_dict(), datetime.now(UTC))
        store.seasons.enter("s", "needs labels", "drift at 2 looks", datetime.now(UTC))
    (row,) = archive.json("status")["seasons"]
    assert (row["coverage"], row["error_px"]["mean"], row["error_px"]["high"]) == (0.35, 12, None)
    assert (row["drift"][0]["found"], row["drift"][0]["p"]) == (True, 0.002)
    assert (row["reason"], row["videos"]) == ("drift at 2 looks", 2)
    assert archive("status") == 0
    assert re.search(r"35 % +12 px \(9 to \?\) +found, p 0.002 +1 +needs labels", archive.out)
    assert "s has drift in embeddings, driven by odd.mp4" in archive.out
    assert "s has videos unlike all labelled ones: new.mp4" in archive.out


def test_a_season_is_reported_as_text_json_and_page(archive: Cli) -> None:
    assert archive("seasons", "report", "s", "--page", "season.html") == 0
    assert "Nothing can be compared yet" in archive.out
    assert "Wrote season.html." in archive.out
    assert "What labelling has brought" in (archive.folder / "season.html").read_text()
    assert archive.json("seasons", "report", "s")["change"] is None
    assert archive("seasons", "report", "s", "--page", "no/such/season.html") == 2
    assert "its folder is not there" in archive.err
    assert archive("seasons", "report", "winter") == 2


def test_a_quarantined_video_makes_ingest_exit_with_1_and_its_reason_is_shown(cli: Cli) -> None:
    write_settings(cli.folder)
    (cli.folder / "archive" / "bad.mp4").write_text("not a video")
    assert cli("ingest") == 1
    cli("status")
    assert "bad.mp4" in cli.out
    assert cli.json("status")["quarantined"][0]["reason"]


def test_a_quarantined_video_named_on_the_command_line_is_tried_again(cli: Cli) -> None:
    make_video(cli.folder / "archive" / "a.mp4")
    write_settings(cli.folder, SETTINGS + "decoding: {max_pixels: 10}\n")
    assert cli("ingest") == 1
    write_settings(cli.folder)
    assert cli("ingest") == 0
    assert cli.json("status")["videos"]["quarantined"] == 1
    assert cli("ingest", "archive/../archive/a.mp4") == 0
    assert cli.json("status")["videos"]["done"] == 1
    assert cli("similar", "archive/../archive/a.mp4", "0") == 0


def test_check_finds_nothing_wrong_here_and_leaves_nothing_behind(archive: Cli) -> None:
    before = sorted(p for p in archive.folder.rglob("*") if "state" not in p.parts)
    report = archive.json("check")
    assert {finding["level"] for finding in report["findings"]} <= {"ok", "warning"}
    subjects = {finding["subject"] for finding in report["findings"]}
    assert {"settings", "state_dir", "archive", "decoding", "embedding", "device"} <= subjects
    assert sorted(p for p in archive.folder.rglob("*") if "state" not in p.parts) == before


def test_check_names_fault_and_remedy(cli: Cli) -> None:
    text = SETTINGS.replace("queue: {", "queue: {strategy: bandit, audit_share: 0, ")
    write_settings(cli.folder, text + "embedding: {model: alexnet, weights: nowhere.pth}\n")
    (cli.folder / "archive").rmdir()
    assert cli("check") == 1
    assert re.search(r"FAIL  archive: .*archive.* cannot be scanned", cli.out)
    assert re.search(r"FAIL  queue.strategy: queue.audit_share is 0,", cli.out)
    assert re.search(r"FAIL  embedding: .*nowhere\.pth", cli.out)


def test_names_that_are_not_text_are_shown_safely(cli: Cli) -> None:
    write_settings(cli.folder)
    name = b"\xff\x1b[31m\n.mp4".decode("utf-8", "surrogateescape")
    shutil.copy(make_video(cli.folder / "a.mp4"), cli.folder / "archive" / name)
    assert cli("ingest") == 0
    assert cli("queue", "unassigned", "--budget", "2") == 0
    assert "\x1b" not in cli.out
    assert cli.json("queue", "unassigned", "--budget", "2")["frames"]


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        below = isinstance(command, click.Group)
        found += every_command(command, (*path, name)) if below else [(*path, name)]  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("command", every_command(alwatch), ids=" ".join)
def test_every_command_has_help_with_a_first_sentence(cli: Cli, command: tuple[str, ...]) -> None:
    assert cli(*command, "--help") == 0
    assert cli.out.splitlines()[2].strip()


@pytest.mark.parametrize(
    "heavy", ["torch", "numpy", "pandas", "faiss", "sqlite_utils", "cv2", "httpx"]
)
def test_help_and_status_import_nothing_heavy(archive: Cli, heavy: str) -> None:
    program = (
        "import sys\n"
        "from alwatch.cli import main\n"
        "sys.argv = ['alwatch', *sys.argv[2:]]\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"assert {heavy!r} not in sys.modules, 'imported {heavy}'\n"
    )
    with Store(archive.folder / "state") as store:
        figures = SeasonFigures(2, 20, 0, 0, 0, 0.35)
        store.seasons.assess("s", "inputs", figures.as_dict(), datetime.now(UTC))
    for command in (["--help"], ["status"]):
        subprocess.run(
            [sys.executable, "-c", program, "-", *command], check=True, capture_output=True
        )
