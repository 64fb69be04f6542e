from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from alwatch.cli.experiments import simulate
from alwatch.simulate.archive import read_archive
from alwatch.simulate.command import read_plan
from alwatch.simulate.conditions import Contender
from alwatch.simulate.presets import PRESETS, VIDEO, spelled
from alwatch.simulate.trial import Bench
from tests.bench.bench_selection import bees
from tests.simulate.archives import draw_project

README = Path(__file__).resolve().parents[2] / "README.md"


def options(*arguments: object) -> dict[str, Any]:
    given = [str(argument) for argument in ("p", "--out", "o", *arguments)]
    return simulate.make_context("simulate", given).params


def test_a_preset_gives_what_is_not_given() -> None:
    study = options("--preset", "horse10")
    assert study["seeds"] == 3
    assert study["test_sessions"] == 0.667
    assert (study["base_individuals"], study["base_frames"], study["test_frames"]) == (1, 0, 0)
    assert study["budgets"] == ("2%", "5%", "10%", "15%", "25%", "50%", "75%")
    assert study["error"] == "normalised"
    assert study["rounds"] == 1
    assert set(options()) == set(study)
    assert {name for name in study if study[name] != options()[name]} <= set(PRESETS["horse10"])


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_given_overrides_a_preset_wherever_it_stands(order: int) -> None:
    parts = (["--preset", "horse10"], ["--seeds", "7", "--rounds", "3", "--base-frames", "60"])
    study = options(*[word for part in parts[::order] for word in part])
    assert (study["seeds"], study["rounds"], study["base_frames"]) == (7, 3, 60)
    assert study["error"] == "normalised"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_presets_values_are_in_the_help_and_in_the_readme(preset: str) -> None:
    told = " ".join(CliRunner().invoke(simulate, ["--help"]).output.split())
    assert " ".join(spelled(preset)) in told
    assert " ".join(spelled(preset)) in " ".join(README.read_text("utf-8").split())


@pytest.mark.parametrize("value", ["0", "0%", "100%", "half", "-1", "1.5"])
def test_what_is_neither_a_number_of_sessions_nor_a_share_is_refused(value: str) -> None:
    told = CliRunner().invoke(simulate, ["p", "--out", "o", "--test-sessions", value])
    assert told.exit_code == 2
    assert "neither a number such as 4 nor a share such as 66.7%" in told.output


def test_thirty_individuals_are_split_as_the_horses_were(tmp_path: Path) -> None:
    config = draw_project(
        tmp_path, {f"horse{n:02d}": (90, 160, 90) for n in range(30)}, n_frames=2 + 2
    )
    given = options("--preset", "horse10", "--size", 48, "--steps", 1, "--width", 1)
    plan = read_plan(given | {"projects": (config,)})
    archive = read_archive((config,), size_px=plan.conditions.size_px)
    drawn = set()
    for seed in plan.seeds:
        split = Bench(archive, plan.conditions, seed).split
        base, pool, test = (
            np.unique(archive.video[rows], return_counts=True)
            for rows in (split.base, split.pool, split.test)
        )
        assert (len(base[0]), len(pool[0]), len(test[0])) == (1, 9, 20)
        assert set(base[0]) | set(pool[0]) | set(test[0]) == set(range(30))
        assert {n for _, counts in (base, pool, test) for n in counts} == {4}  # every frame
        drawn.add((split.base_individuals, split.test_sessions))
    assert len(drawn) == 3


def test_a_reference_is_eye_and_nose_where_they_are_labelled(tmp_path: Path) -> None:
    def reference(bodyparts: list[str], *given: str) -> tuple[str, str]:
        config = tmp_path / "config.yaml"
        config.write_text(f"bodyparts: {json.dumps(bodyparts)}")
        plan = read_plan(options("--preset", "horse10", *given) | {"projects": (config,)})
        return plan.conditions.reference

    assert reference(["Nose", "Eye", "Tail"]) == ("Eye", "Nose")
    assert reference(["Nose", "Eye", "Tail"], "--reference", "Eye,Tail") == ("Eye", "Tail")
    assert reference(["Nose", "Ear", "Tail"]) == ("Nose", "Tail")


def test_sessions_are_individuals_or_videos_unless_told(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("bodyparts: [a, b]")
    given = {"projects": (config,)}
    assert read_plan(options("--individual", "^(.)") | given).conditions.session == "^(.)"
    assert read_plan(options() | given).conditions.session == VIDEO
    told = options("--individual", "^(.)", "--session", "(.)$") | given
    assert read_plan(told).conditions.session == "(.)$"


def test_the_study_runs_on_bees_with_all_of_its_strategies(data_dir: Path, tmp_path: Path) -> None:
    if not (data_dir / "apic-bee").is_dir():
        pytest.skip(f"no apic-bee in {data_dir}")
    bees(tmp_path / "bees")
    ran = subprocess.run(
        [
            sys.executable, "-m", "alwatch", "simulate", str(tmp_path / "bees/config.yaml"),
            "--out", str(tmp_path / "out"), "--preset", "horse10", "--individual", "_bee_(.*)$",
            "--seeds", "1", "--steps", "4", "--size", "32", "--width", "2",
            "--budgets", "20%", "--jobs", "1", "--json",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    summary = json.loads(ran.stdout)
    asked = [Contender.read(name) for name in PRESETS["horse10"]["strategies"].split(",")]
    assert {curve["strategy"] for curve in summary["curves"]} == {c.spelled for c in asked}
    assert summary["error"] == "normalised"
    assert all(curve["area"] > 0 and "labels_to_reach" in curve for curve in summary["curves"])
    rows = [json.loads(path.read_text()) for path in (tmp_path / "out/trials").glob("*.json")]
    assert {len(row["test_sessions"]) for row in rows} == {12}  # of 18 bees
    assert {row["individuals"] for row in rows if row["strategy"] == "whole pool"} == {5}
