"""A short race on real flies: not which strategy is best, but that the race can tell.

The archive is long-tailed: two flies of one recording have 600 frames each, those of the two others
20. One of the two is labelled at the start, so that nearly all of the pool is of its like.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alwatch.simulate.archive import LabelledArchive, read_archive
from alwatch.simulate.conditions import BASE, Conditions, Contender
from alwatch.simulate.trial import Bench

N_FRAMES = {
    "fly20190128_a": 600, "fly20190128_b": 600, "clip_a": 20, "clip_b": 20, "cpair_a": 20,
    "cpair_b": 20,
}  # fmt: skip
CONDITIONS = Conditions(
    size_px=(64, 64), steps=200, batch_size=8, width=8, more_steps=100, base_frames=30,
    base_individuals=1, test_sessions=1, test_frames=120, rounds=1, features="pose",
    reference=("head", "abdomen"), pck_share=0.1, individual="(.*)", session="^(.*)_[ab]$",
)  # fmt: skip
SEEDS = (4, 5)
"""In these splits a fly of 600 frames is the start, and the other one in the pool."""

BUDGETS = ("5", "20")
EXPERIMENTS = (("stride", "20"), ("herding", "20"), ("random", "5"), ("random", "20"))
ORACLE = "oracle"


@dataclass
class Race:
    """The archive, and every experiment's row by seed, strategy and budget."""

    archive: LabelledArchive
    rows: dict[tuple[int, str, str], dict[str, Any]]

    def error_px(self, strategy: str, *budgets: str) -> float:
        """On the pool's own videos, every fly counting alike; the mean over seeds and budgets."""
        return float(
            np.mean([self.rows[s, strategy, b]["pool_px"] for s in SEEDS for b in budgets])
        )


@pytest.fixture(scope="module")
def race(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Race:
    config = project(data_dir, tmp_path_factory.mktemp("flies"))
    archive = read_archive([config], size_px=(64, 64))
    rows = {}
    for seed in SEEDS:
        bench = Bench(archive, CONDITIONS, seed)
        rows[seed, BASE, "0"] = bench.run(Contender.read(BASE), "0")
        for name, budget in EXPERIMENTS:
            rows[seed, name, budget] = bench.run(Contender.read(name), budget)
        know_the_truth(bench, archive)
        for budget in BUDGETS:
            oracle = Contender.read("herding@equal_share_max=1")
            rows[seed, ORACLE, budget] = bench.run(oracle, budget)
    return Race(archive, rows)


def project(data_dir: Path, folder: Path) -> Path:
    """The flies' project with the first so many frames of each video."""
    source = data_dir / "flies-dlc"
    (folder / "oracle").mkdir()
    shutil.copy(source / "config.yaml", folder)
    (folder / "videos").symlink_to(source / "videos")
    for name, n_frames in N_FRAMES.items():
        lines = (source / f"oracle/{name}.csv").read_text(encoding="utf-8").splitlines()
        text = "\n".join(lines[: 3 + n_frames]) + "\n"
        (folder / f"oracle/{name}.csv").write_text(text, encoding="utf-8")
    return folder / "config.yaml"


def know_the_truth(bench: Bench, archive: LabelledArchive) -> None:
    """Let frames be compared by where people put the bodyparts, which no strategy can know."""
    rows = np.concatenate([bench.split.pool, bench.split.base])
    points = archive.points_in_images(rows).reshape(len(rows), -1)
    poses = np.nan_to_num(points - np.nanmean(points, axis=0))
    bench._vectors, bench._base_vectors = np.split(poses, [len(bench.split.pool)])


def test_the_same_experiment_gives_the_same_figures(race: Race) -> None:
    again = Bench(race.archive, CONDITIONS, SEEDS[0])
    assert again.run(Contender.read("herding"), "20") == race.rows[SEEDS[0], "herding", "20"]


@pytest.mark.parametrize("strategy", ["stride", "herding", "random", ORACLE])
def test_the_learning_curve_falls(race: Race, strategy: str) -> None:
    assert race.error_px(strategy, "20") < race.error_px(BASE, "0")


def test_who_knows_all_animals_and_poses_beats_chance(race: Race) -> None:
    """Herding of the true poses, in equal shares of the flies; chance knows neither."""
    assert race.error_px(ORACLE, *BUDGETS) < 0.8 * race.error_px("random", *BUDGETS)
