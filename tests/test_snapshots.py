"""What a person does with snapshots, by the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from alwatch.errors import PoseModelError
from alwatch.records import Snapshot
from alwatch.service import Backfill, score_now
from tests.pose_models.exported_files import export_colour_spots
from tests.test_cli import Cli
from tests.test_scoring import WITH_MODEL
from tests.test_service import Recorder
from tests.videos import make_app, make_video


class Versions:
    """An exported model whose files are put back and overwritten."""

    def __init__(self, folder: Path) -> None:
        self._sidecar = export_colour_spots(folder / "model")
        self._text = self._sidecar.read_text()
        self.app = make_app(folder, WITH_MODEL)

    def put(self, version: str) -> Snapshot:
        """Put a version there, and let alwatch take it up."""
        self._sidecar.write_text(self._text + f"# {version}\n")
        score_now(self.app, Recorder())
        snapshot = self.app.store.snapshots.current().snapshot
        assert snapshot is not None
        return snapshot

    def overwrite(self, version: str) -> None:
        self._sidecar.write_text(self._text + f"# {version}\n")


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    return Cli(tmp_path, capsys, monkeypatch)


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(tmp_path)


def states(cli: Cli) -> dict[str, str]:
    return {row["sha256"]: row["state"] for row in cli.json("snapshots")["snapshots"]}


def test_before_any_model_there_is_nothing_to_list_promote_or_go_back_to(
    cli: Cli,
    versions: Versions,
) -> None:
    assert cli("snapshots") == 0
    assert "No snapshot" in cli.out
    for command in ("promote", "rollback"):
        assert cli(command) == 1
        assert "No snapshot" in cli.err


def test_rollback_and_promote_go_back_and_forth(cli: Cli, versions: Versions) -> None:
    old, new = versions.put("old"), versions.put("new")
    assert states(cli) == {old.sha256: "former", new.sha256: "current"}
    assert cli("rollback") == 3
    assert "its files were overwritten" in cli.err
    assert states(cli) == {old.sha256: "former", new.sha256: "current"}
    versions.overwrite("old")
    assert cli.json("rollback") == {"snapshot": "spots", "sha256": old.sha256}
    assert states(cli) == {old.sha256: "current", new.sha256: "aside"}
    rows = cli.json("snapshots")["snapshots"]
    assert [row["judgement"]["reason"] for row in rows] == [
        "rolled back from spots", "rolled back to spots",
    ]  # fmt: skip
    assert cli("rollback") == 1  # there is none before the first
    versions.overwrite("new")
    assert cli("promote") == 0
    assert "spots is the current snapshot now" in cli.out
    assert states(cli) == {old.sha256: "former", new.sha256: "current"}


def test_what_was_rolled_back_is_not_taken_up_again(
    cli: Cli,
    versions: Versions,
    tmp_path: Path,
) -> None:
    make_video(tmp_path / "archive/2024/a.mp4")
    Backfill(versions.app, Recorder()).run([])
    old, new = versions.put("old"), versions.put("new")
    versions.overwrite("old")
    assert cli("rollback", old.sha256[:8]) == 0
    versions.overwrite("new")
    assert cli("score") == 3
    assert "`alwatch promote` takes the new one" in cli.err
    status = cli.json("status")["pose_model"]
    assert status["sha256"] == old.sha256
    assert "its files were overwritten" in status["problem"]
    versions.overwrite("old")
    assert cli("score") == 0
    assert cli.json("status")["pose_model"]["problem"] is None
    versions.overwrite("new")
    assert cli("promote", new.sha256[:8]) == 0
    assert cli("score") == 0
    assert cli.json("status")["pose_model"]["sha256"] == new.sha256
    assert cli.json("status")["pose_model"]["problem"] is None


def test_a_name_that_several_have_is_told_apart_by_the_sum(
    cli: Cli,
    versions: Versions,
) -> None:
    old, new = versions.put("old"), versions.put("new")
    assert cli("promote", "spots") == 2
    assert f"spots ({old.sha256[:8]}, former), spots ({new.sha256[:8]}, current)" in cli.err
    assert cli("promote", "sports") == 2
    assert "none is called; known: spots" in cli.err
    assert cli("promote", new.sha256[:6]) == 1
    assert "current snapshot already" in cli.err


def test_status_tells_the_candidate_and_the_last_judgement(
    cli: Cli,
    versions: Versions,
) -> None:
    old, new = versions.put("old"), versions.put("new")
    told = cli.json("status")["pose_model"]
    assert told["candidate"] is None
    assert told["last_judgement"]["sha256"] == new.sha256
    assert told["last_judgement"]["verdict"] == "promoted"
    assert told["last_judgement"]["against"]["sha256"] == old.sha256
    assert told["last_judgement"]["reason"] == "no audited frames to judge it by (0 of 5)"
    store, now = versions.app.store, versions.app.clock()
    store.snapshots.set_candidate(old, now)
    assert cli.json("status")["pose_model"]["candidate"]["sha256"] == old.sha256
    assert cli("status") == 0
    assert "spots is being judged" in cli.out
    store.snapshots.set_aside(old, judge="gate", reason="far worse", now=now, against=new)
    assert cli("status") == 0
    assert "spots was set aside: far worse" in cli.out
    assert cli("snapshots") == 0
    assert f"spots ({old.sha256[:8]})" in cli.out
    assert "aside (gate): far worse" in cli.out


def test_the_current_snapshot_is_found_where_it_lay_and_not_the_newest(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    sidecar, app = tmp_path / "model/spots.yaml", versions.app
    first = sidecar.rename(tmp_path / "model/first.yaml")
    sidecar.symlink_to(first)
    assert app.current_snapshot().snapshot.name == "first"  # none scores yet
    score_now(app, Recorder())
    second = tmp_path / "model/second.yaml"
    second.write_text(first.read_text() + "# second\n")
    sidecar.unlink()
    sidecar.symlink_to(second)
    assert app.find_snapshot().snapshot.name == "second"
    assert app.current_snapshot().snapshot.name == "first"
    first.write_text("overwritten")
    with pytest.raises(PoseModelError, match=r"is first, but its files were overwritten .*; let"):
        app.current_snapshot()


def test_what_is_labelled_when_a_snapshot_is_first_scored_by_hand_is_known_to_it(
    tmp_path: Path,
) -> None:
    """Somebody has labelled a queue and trained before alwatch looked at either."""
    versions = Versions(tmp_path)
    app = versions.app
    make_video(tmp_path / "archive/2024/a.mp4")
    Backfill(app, Recorder()).run([])
    queue = app.make_queue("2024", budget=4)
    folder = app.export(queue, "folder", tmp_path / "labels").project / "queue-0001"
    images = sorted(path.name for path in folder.glob("*.png"))
    rows = [f"{image},red,{10 + n},20" for n, image in enumerate(images)]
    (folder / "labels.csv").write_text("\n".join(["image,bodypart,x,y", *rows]))
    snapshot = versions.put("trained on them")
    assert len(app.store.labels.points()) == 4
    assert app.store.labels.points(after=snapshot) == {}
