"""Experiments from the command's options to the report, on a drawn archive."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alwatch.errors import AlwatchError, SettingsError
from alwatch.simulate.archive import LabelledArchive, read_archive
from alwatch.simulate.command import read_plan, run_simulation
from alwatch.simulate.conditions import ORACLE, Conditions, Contender
from alwatch.simulate.report import summarise
from alwatch.simulate.run import run_plan
from alwatch.simulate.trial import Bench, n_labels, trials
from alwatch.strategies.bandit import ARMS, Round, choose_arm
from alwatch.strategies.pool import Limits
from alwatch.strategies.registry import select
from alwatch.strategies.selection import Selection
from tests.simulate.archives import draw_project
from tests.simulate.sleap_projects import Animal, pictures, write_project

COLOURS = {
    "day1_a": (200, 60, 60),
    "day1_b": (60, 200, 60),
    "day2_a": (60, 60, 200),
    "day2_b": (200, 200, 60),
    "day3_a": (60, 200, 200),
    "day3_b": (200, 60, 200),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_project(tmp_path_factory.mktemp("project"), COLOURS, n_frames=30)


@pytest.fixture(scope="module")
def archive(config: Path) -> LabelledArchive:
    return read_archive([config], size_px=(48, 48))


def options(config: Path, out: Path, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "projects": (config,), "predicted": False, "out": out,
        "strategies": "stride,minmax", "baseline": "stride",
        "budgets": ("4", "8"), "seeds": 2, "rounds": 1, "individual": "(.*)", "session": "^(.*)_",
        "test_sessions": 1, "test_frames": 40, "base_individuals": 1, "base_frames": 6,
        "features": "pose", "features_weights": None, "reference": None,
        "error": "mean_px", "size_px": 48, "steps": 12,
        "width": 4, "more_steps": 0, "jobs": 1, "trainer": "unet", "network": "resnet_50",
        "backbone_weights": None, "device": "cpu",
    }  # fmt: skip
    return given | more


def run(config: Path, out: Path, **more: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    summary = run_simulation(options(config, out, **more), on_row=rows.append)
    return rows, summary.as_dict()


def without_order(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row) for row in rows)


def test_the_same_plan_gives_the_same_figures_on_one_process_or_two(
    config: Path, tmp_path: Path
) -> None:
    one, summary = run(config, tmp_path / "one")
    two, again = run(config, tmp_path / "two", jobs=2)
    assert without_order(one) == without_order(two)
    assert summary == again
    # 2 seeds x (base, 2 strategies x 2 budgets, whole pool)
    assert len(one) == 12
    assert {(row["strategy"], row["labels"]) for row in one} == {
        ("base", 0), ("stride", 4), ("stride", 8), ("minmax", 4), ("minmax", 8),
        ("whole pool", 90),
    }  # fmt: skip


def test_what_has_been_run_is_not_run_again(config: Path, tmp_path: Path) -> None:
    first, _ = run(config, tmp_path, seeds=1)
    again, _ = run(config, tmp_path, seeds=1)
    assert (len(first), again) == (6, [])
    more, summary = run(config, tmp_path, seeds=1, strategies="stride,minmax,random")
    assert {row["strategy"] for row in more} == {"random"}
    assert {curve["strategy"] for curve in summary["curves"]} == {"stride", "minmax", "random"}


@pytest.mark.parametrize("features", ["hog", "truth"])
def test_frames_may_be_compared_otherwise(config: Path, tmp_path: Path, features: str) -> None:
    rows, _ = run(
        config, tmp_path, seeds=1, budgets=("4",), strategies="stride,herding", features=features
    )
    assert [row["labels"] for row in rows if row["strategy"] == "herding"] == [4]


def test_experiments_under_other_conditions_are_not_mixed(config: Path, tmp_path: Path) -> None:
    run(config, tmp_path, seeds=1)
    with pytest.raises(SettingsError, match="under other conditions"):
        run(config, tmp_path, seeds=1, steps=13)


def test_experiments_on_other_projects_are_not_mixed(config: Path, tmp_path: Path) -> None:
    run(config, tmp_path, seeds=1)
    other = draw_project(tmp_path / "other", {"day4_a": (200, 60, 60)}, n_frames=2)
    for more in ({"projects": (config, other)}, {"predicted": True}):
        with pytest.raises(SettingsError, match="under other conditions"):
            run(config, tmp_path, seeds=1, **more)


def test_animals_of_a_sleap_project_are_individuals_of_their_video_by_default(
    tmp_path: Path,
) -> None:
    """Of each video one animal has a track, and two have none."""
    rng = np.random.default_rng(0)
    videos = {}
    for cage in ("one", "two", "three"):
        files = tuple(pictures(tmp_path / cage, 8))
        corners = rng.uniform(5, 50, (8, 3, 2))
        videos[files] = [
            Animal(frame, [(x, y / 2), (x + 8, y / 2)], "known" if n == 0 else "")
            for frame, of in enumerate(corners.tolist())
            for n, (x, y) in enumerate(of)
        ]
    path = write_project(tmp_path / "a.slp", videos)
    command = [
        sys.executable, "-m", "alwatch", "simulate", str(path), "--out", str(tmp_path / "out"),
        "--strategies", "stride", "--budgets", "4", "--seeds", "1", "--test-frames", "24",
        "--base-frames", "6", "--size", "16", "--steps", "3", "--width", "4", "--jobs", "1",
        "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(file.read_text()) for file in (tmp_path / "out/trials").glob("*.json")]
    assert {len(row["test_sessions"]) for row in rows} == {1}
    (whole,) = [row for row in rows if row["strategy"] == "whole pool"]
    # Two cages of two individuals each are left, one of which the base is.
    assert whole["individuals"] == 3
    archive = read_archive([path], size_px=(16, 16))
    assert archive.videos == tuple(
        f"{cage}{animal}" for cage in ("one", "three", "two") for animal in ("", "/#2", "/known")
    )


def test_a_run_that_is_killed_goes_on_where_it_was(config: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "alwatch", "simulate", str(config), "--out", str(tmp_path / "out"),
        "--strategies", "stride,minmax", "--budgets", "4", "--seeds", "2", "--session", "^(.*)_",
        "--test-frames", "40", "--base-frames", "6", "--size", "48", "--steps", "12", "--width",
        "4", "--jobs", "1", "--json",
    ]  # fmt: skip
    trials_folder = tmp_path / "out/trials"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        until_s = time.monotonic() + 60
        while len(list(trials_folder.glob("*.json"))) < 3 and time.monotonic() < until_s:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    kept = {path: path.read_bytes() for path in trials_folder.glob("*.json")}
    assert 3 <= len(kept) < 8
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stderr.count("seed ") == 8 - len(kept)
    assert all(path.read_bytes() == content for path, content in kept.items())
    uninterrupted, summary = run(config, tmp_path / "whole", budgets=("4",))
    assert len(uninterrupted) == 8
    assert json.loads(ran.stdout) == summary


def test_the_report_is_written_for_people_and_for_scripts(config: Path, tmp_path: Path) -> None:
    _, summary = run(config, tmp_path)
    lines = (tmp_path / "experiments.csv").read_text().splitlines()
    assert len(lines) == 13
    assert lines[0].startswith("seed,strategy,asked,rounds,labels,individuals,")
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert "minmax" in page
    assert (tmp_path / "curves.svg").read_text().count("<polyline") == 2
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strategies": "stride,minimax"}, "did you mean minmax"),
        ({"strategies": "stride,base"}, "--strategies names base, which is no strategy"),
        ({"strategies": "stride,whole pool"}, "--strategies names whole pool, which is no"),
        ({"strategies": "stride,oracle@gap=3"}, "has the limit 'gap=3'; limits are"),
        ({"reference": "head,head"}, "--reference is 'head,head'; it must be two of head, tail"),
        ({"strategies": "minmax"}, "--baseline is stride, which is not among"),
        ({"size_px": 50}, "--size is 50; it must be a multiple of 16"),
        ({"reference": "head,nose"}, "--reference is 'head,nose'; it must be two of head, tail"),
        ({"strategies": "stride,minmax@gap=3"}, "has the limit 'gap=3'; limits are"),
        ({"strategies": "stride,minmax@audit_share=3"}, "audit_share must lie between 0 and 1"),
        ({"strategies": "stride,novelty"}, "novelty needs the scores novelty"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_trained(
    config: Path, tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        read_plan(options(config, tmp_path, **wrong))


def test_a_plan_that_does_not_fit_the_data_is_refused_in_one_line(
    config: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="3 sessions were to be held out, but there are 3"):
        run(config, tmp_path, test_sessions=3)


def test_a_project_of_one_bodypart_is_run_by_its_errors_in_pixels(
    config: Path, tmp_path: Path
) -> None:
    shutil.copytree(config.parent, tmp_path / "project")
    one = tmp_path / "project/config.yaml"
    one.write_text("bodyparts: [head]\n")
    rows, _ = run(one, tmp_path / "out", seeds=1, budgets=("4",))
    assert all(np.isfinite(row["mean_px"]) for row in rows)
    with pytest.raises(SettingsError, match=r"normalised, which is in lengths.*but head is the on"):
        run(one, tmp_path / "out", error="normalised")


def test_a_reference_that_is_never_labelled_is_refused_in_one_line(
    config: Path, tmp_path: Path
) -> None:
    shutil.copytree(config.parent, tmp_path / "project")
    other = tmp_path / "project/config.yaml"
    other.write_text("bodyparts: [head, tail, ear]\n")
    with pytest.raises(SettingsError, match=r"The reference is head and ear, but .* --reference"):
        run(other, tmp_path / "out", seeds=1)


def test_conditions_that_cannot_be_read_are_other_conditions(config: Path, tmp_path: Path) -> None:
    (tmp_path / "conditions.json").write_text("{")
    with pytest.raises(SettingsError, match="under other conditions"):
        run(config, tmp_path, seeds=1)


def test_a_process_that_dies_is_told_and_what_has_ended_is_kept(
    config: Path, tmp_path: Path
) -> None:
    def kill(row: dict[str, Any]) -> None:
        for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)

    with pytest.raises(AlwatchError, match="ended with status -9"):
        run_simulation(options(config, tmp_path, seeds=1), on_row=kill)
    assert list((tmp_path / "trials").glob("*.json"))


def test_limits_are_spelled_after_the_name() -> None:
    contender = Contender.read("minmax@per_video_max=3+min_gap_s=0.5")
    assert contender.strategy == "minmax"
    assert contender.limits == Limits(per_video_max=3, min_gap_s=0.5)
    contender = Contender.read("herding@per_individual_max=3+per_session_max=9+share_by=video")
    assert contender.limits == Limits(per_individual_max=3, per_session_max=9, share_by="video")
    contender = Contender.read("oracle@equal_share_max=1")
    assert (contender.strategy, contender.limits) == (ORACLE, Limits(equal_share_max=1))
    for spelled in ("share_by=3", "per_video_max=many", "share_by=cage", "per_video_max=1.5"):
        with pytest.raises(SettingsError, match=spelled.split("=")[0]):
            Contender.read(f"herding@{spelled}")


CONDITIONS = Conditions(
    size_px=(48, 48), steps=80, batch_size=16, width=6, more_steps=0, base_frames=20,
    base_individuals=1,
    test_sessions=1, test_frames=60, rounds=1, features="pose", reference=("head", "tail"),
    pck_share=0.1, individual="(.*)", session="^(.*)_",
)  # fmt: skip


def test_labels_teach_and_all_labels_teach_most(archive: LabelledArchive) -> None:
    """The learning curve falls, from the base over a budget to the whole pool."""
    bench = Bench(archive, CONDITIONS, seed=0)
    base, budget, whole = (
        bench.run(Contender.read(name), n)["mean_px"]
        for name, n in (("base", "0"), ("stride", "20"), ("whole pool", "0"))
    )
    assert whole < base
    assert budget < base


def test_every_round_looks_at_the_model_of_the_round_before(archive: LabelledArchive) -> None:
    bench = Bench(archive, replace(CONDITIONS, rounds=3), seed=1)
    row = bench.run(Contender.read("confidence"), "10")
    assert (row["labels"], row["rounds"]) == (10, 3)
    once = Bench(archive, CONDITIONS, seed=1)
    assert once.run(Contender.read("confidence"), "10")["mean_px"] != row["mean_px"]


def test_the_bandit_tries_every_arm_and_learns_from_its_audits(archive: LabelledArchive) -> None:
    bench = Bench(archive, replace(CONDITIONS, steps=5, rounds=4), seed=0)
    bandit = Contender.read("bandit")
    assert bandit.limits == Limits(audit_share=0.2)
    row = bench.run(bandit, "20")
    assert sorted(row["arms"][:3]) == sorted(ARMS)
    assert row["arms"][3] in row["arms"][:2]  # the reward of the third is on its way
    assert (row["labels"], row["strategy"]) == (20, "bandit")
    again = Bench(archive, replace(CONDITIONS, steps=5, rounds=4), seed=0)
    assert again.run(bandit, "20") == row


def test_in_one_round_the_bandit_is_the_first_arm_drawn(archive: LabelledArchive) -> None:
    conditions, arms = replace(CONDITIONS, steps=2), set()
    for seed in range(3):
        bench = Bench(archive, conditions, seed)
        row = bench.run(Contender.read("bandit"), "10")
        (arm,) = row["arms"]
        alone = bench.run(Contender.read(f"{arm}@audit_share=0.2"), "10")
        assert row["mean_px"] == alone["mean_px"]
        assert alone["arms"] == []
        arms.add(arm)
    assert len(arms) > 1


def test_what_a_round_paid_is_the_fall_of_the_error_on_its_audits(
    archive: LabelledArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[Round]] = []

    def note(arms: tuple[str, ...], rounds: list[Round], rng: np.random.Generator) -> Any:
        told.append(list(rounds))
        return choose_arm(arms, rounds, rng)

    monkeypatch.setattr("alwatch.simulate.trial.choose_arm", note)
    bench = Bench(archive, replace(CONDITIONS, steps=5, rounds=2), seed=0)
    bench.run(Contender.read("bandit"), "20")
    first, (before,) = told
    assert first == []
    _, errors_px = bench._scored(bench._base)
    pool = bench._pool(bench.split.pool[:0], {}, 0.0)
    selection = Selection(pool, Limits(audit_share=0.2), 10)
    selection.take_audit(np.random.default_rng([0, 0]))
    audit = selection.picks().rows
    assert len(audit) == 2
    assert (before.n_labels, before.error_px) == (10, pytest.approx(errors_px[audit].mean()))


def test_the_oracle_weighs_frames_by_the_true_error(archive: LabelledArchive) -> None:
    bench = Bench(archive, replace(CONDITIONS, steps=5), seed=0)
    _, errors_px = bench._scored(bench._base)
    pool = bench._pool(bench.split.pool[:0], {}, 0.0)
    chosen = bench._choose(Contender.read(ORACLE), pool, errors_px, 8, 0)
    knowing = replace(pool, scores={"confidence": errors_px.astype(np.float32)}, trust=1.0)
    expected = select(
        knowing, strategy="balanced_herding", budget=8, limits=Limits(),
        rng=np.random.default_rng([0, 0]),
    )  # fmt: skip
    assert chosen.rows.tolist() == expected.rows.tolist()


def test_the_patterns_tell_the_pool_who_is_shown_and_when(archive: LabelledArchive) -> None:
    bench = Bench(archive, replace(CONDITIONS, steps=5), seed=0)
    rows = bench.split.pool
    bench._vectors = np.ones((len(rows), 2), np.float32)
    bench._base_vectors = np.ones((len(bench.split.base), 2), np.float32)
    pool = bench._pool(rows[:4], {}, 0.0)
    assert pool.individual is not None and pool.taken_session is not None
    assert pool.individual.tolist() == archive.groups("(.*)")[rows].tolist()
    taken = np.concatenate([bench.split.base, rows[:4]])
    assert pool.taken_session.tolist() == archive.groups("^(.*)_")[taken].tolist()


def test_a_seed_runs_the_base_every_contender_at_every_budget_and_the_whole_pool() -> None:
    contenders = (Contender.read("stride"), Contender.read("minmax"))
    assert [(c.spelled, n) for c, n in trials(contenders, ("5", "10"))] == [
        ("base", "0"), ("stride", "5"), ("minmax", "5"), ("stride", "10"), ("minmax", "10"),
        ("whole pool", "100%"),
    ]  # fmt: skip


def rows_of(curves: dict[str, list[list[float]]], budgets: list[int]) -> list[dict[str, Any]]:
    """Rows with the errors of each strategy, seed by seed."""
    made = []
    for strategy, seeds in curves.items():
        for seed, heights in enumerate(seeds):
            for budget, error in zip(budgets, heights, strict=True):
                row = {"seed": seed, "strategy": strategy, "asked": str(budget), "labels": budget}
                errors = {"mean_px": error, "worst_individual_px": error + 1}
                made.append(row | errors | {"individuals": 2})
    for seed in range(2):
        for name, asked, error in (("base", "0", 10.0), ("whole pool", "100%", 0.0)):
            row = {"seed": seed, "strategy": name, "asked": asked, "labels": 0, "individuals": 0}
            made.append(row | {"mean_px": error, "worst_individual_px": error})
    return made


def test_the_summary_is_that_of_a_worked_example() -> None:
    rows = rows_of(
        {"stride": [[8, 4, 2], [6, 4, 2]], "clever": [[4, 2, 1], [4, 2, 1]]}, [10, 100, 1000]
    )
    summary = summarise(rows, baseline="stride", error="mean_px")
    clever, stride = summary.curves  # the lower area first
    assert (clever.strategy, stride.strategy) == ("clever", "stride")
    assert stride.mean == (7.0, 4.0, 2.0)
    assert stride.standard_error[0] == pytest.approx(1.0)  # 8 and 6: sd sqrt 2 over sqrt 2
    assert stride.area == pytest.approx((5.5 + 3) / 2)
    assert clever.difference is not None
    assert clever.difference.mean == pytest.approx((3 + 1.5) / 2 - (5.5 + 3) / 2)
    assert clever.labels_ratio == pytest.approx(0.1)  # stride's 4 px at 100, clever's at 10
    assert clever.labels_to_reach == pytest.approx(1000)  # 90 % of the way from 10 to 0 is 1
    assert stride.labels_to_reach == np.inf


def test_labels_never_reach_a_whole_pool_that_is_no_better_than_none() -> None:
    rows = rows_of({"stride": [[8, 4], [6, 4]]}, [10, 100])
    for row in rows:
        if row["strategy"] == "whole pool":
            row["mean_px"] = 11.0
    (curve,) = summarise(rows, baseline="stride", error="mean_px").curves
    assert curve.labels_to_reach == np.inf


def test_a_seed_that_lacks_an_experiment_is_left_out() -> None:
    rows = rows_of({"stride": [[8, 4], [6, 4]]}, [10, 100])
    del rows[0]
    assert summarise(rows, baseline="stride", error="mean_px").seeds == (1,)


@pytest.mark.parametrize(
    ("asked", "n"), [("40", 40), ("10%", 90), ("2.5%", 22), ("0.01%", 1), ("100%", 900)]
)
def test_a_budget_is_a_number_of_labels_or_a_share_of_the_pool(asked: str, n: int) -> None:
    assert n_labels(asked, 900) == n


def test_shares_of_the_pool_are_compared_over_the_labels_that_they_were(
    config: Path, tmp_path: Path
) -> None:
    _, summary = run(config, tmp_path, budgets=("5%", "10%"), seeds=1)
    (curve, _) = summary["curves"]
    assert curve["budgets"] == ["5%", "10%"]
    assert curve["labels"] == [4, 9]  # of three videos of 30 frames; 4.5 rounds to even


def test_what_another_run_has_written_meanwhile_counts_too(config: Path, tmp_path: Path) -> None:
    plan = read_plan(options(config, tmp_path, seeds=1))
    run_plan(plan, tmp_path, jobs=1)
    base = next((tmp_path / "trials").glob("base-*"))
    kept = base.read_bytes()
    base.unlink()

    def another_writes(row: dict[str, Any]) -> None:
        other = next((tmp_path / "trials").glob("stride-4-*"))
        other.write_text(json.dumps(json.loads(other.read_text()) | {"trust": 0.125}))

    rows = run_plan(plan, tmp_path, jobs=1, on_row=another_writes)
    assert len(rows) == 6
    assert base.read_bytes() == kept
    assert [row["trust"] for row in rows if row["strategy"] == "stride"] == [0.125, 0.0]
