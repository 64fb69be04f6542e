"""The demo is the whole loop: the real daemon, a real training, and no hand on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alwatch.demo.run import run_demo
from alwatch.errors import SettingsError
from alwatch.store import Store

SPRING, AUTUMN = "2025-spring", "2025-autumn"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    said: list[str] = []
    return folder, run_demo(folder, seed=0, say=said.append), said


@pytest.mark.timeout(600)
def test_a_season_that_drifts_is_labelled_trained_on_judged_and_quiet(
    played: tuple[Path, Path, list[str]],
) -> None:
    with Store(played[0] / "state") as store:
        states = [change.state for change in store.seasons.changes(AUTUMN)]
        first = store.seasons.assessments(AUTUMN)
        (firing,) = store.triggers.firings()
        (delivery,) = store.triggers.deliveries()
        judgements = store.snapshots.judgements()
        current = store.snapshots.current().snapshot
        spring = [change.state for change in store.seasons.changes(SPRING)]
    # Whether it is seen while the candidate is being judged depends on the moment.
    assert [state for state in states if state != "new snapshot"] == [
        "needs labels",
        "queue out",
        "labelled",
        "retraining asked",
        "judged",
        "quiet",
    ]
    assert "needs labels" not in spring
    assert any(drift["p"] <= drift["alpha"] for drift in first[0].figures["drift"])
    assert firing.closed_by is not None
    assert delivery.state == "delivered"
    assert [judgement.verdict for judgement in judgements] == ["promoted", "promoted"]
    assert judgements[-1].figures["honest"]
    assert current is not None
    assert current.name == "mouse-2"


def test_the_true_error_falls_by_more_than_half(played: tuple[Path, Path, list[str]]) -> None:
    """Of uncertainty that cannot be asked: the first model is at times wrong and sure of it."""
    told = [line for line in played[2] if f" on {AUTUMN}: mean uncertainty" in line]
    before_px, after_px = (float(line.removesuffix(" px").split()[-1]) for line in told)
    assert after_px < 0.5 * before_px


def test_the_page_tells_the_story(played: tuple[Path, Path, list[str]]) -> None:
    text = played[1].read_text(encoding="utf-8")
    assert "drift of embeddings" in text
    assert "mouse-2 is promoted" in text
    assert (played[0] / "queue.html").stat().st_size > 100_000


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SettingsError, match="not a demo's"):
        run_demo(tmp_path, seed=0, say=lambda line: None)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
