"""Which strategy saves labels? The races behind the README's section on evidence.

Run `python -m tests.bench.bench_selection flies` (or `bees`) from the repository's root; `--out`
keeps the experiments, so that an interrupted race goes on and more seeds cost only themselves.
`--quick` takes two seeds and one budget.

flies: six flies in three recordings, a label for every one of 11,199 frames. A fly is labelled at
the start (60 frames), another recording is held out, and the pool is every frame of the flies
that are left, 3 or 4 of them: as redundant as real video is.

tail: the same flies, but long-tailed as archives are: of one fly 3,000 frames, of the others
1,000, 300, 300, 100 and 100.

bees: 204 labelled crops of 17 bees in 12 videos; a third of the videos is held out, three bees
are labelled at the start. The pool has no redundancy: people chose its frames already.

The network is a U-Net, trained from random weights on the start, and trained on from there once
labels have come, by as many steps whatever their number: as labs go on from their last snapshot,
and with less of the noise that a training from scratch would add. Frames are compared by the
backbone of the network that was trained on the start.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from alwatch.simulate.command import read_plan
from alwatch.simulate.report import Summary, summarise, write_report
from alwatch.simulate.run import run_plan

DATA = Path(os.environ.get("ALWATCH_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
STRATEGIES = (
    "stride", "random", "minmax", "kmeans", "typiclust", "herding", "herding@equal_share_max=1",
    "balanced_herding",
    "mpe", "mpe_softmax", "confidence",
    "oracle",
)  # fmt: skip
ERRORS = {
    "pool_px": "error on the pool's own videos, animals alike",
    "pool_worst_px": "error on the pool's worst animal",
    "mean_px": "error on held-out sessions",
}
FLIES = {
    "session": "^(.*)_[ab]$", "individual": "(.*)", "test_sessions": 1, "test_frames": 300,
    "base_individuals": 1, "base_frames": 60, "size_px": 64, "steps": 300, "width": 12,
    "more_steps": 150,
    "reference": "head,abdomen", "budgets": ("5", "10", "20"),
}  # fmt: skip
RACES: dict[str, dict[str, Any]] = {
    "flies": FLIES,
    "tail": FLIES,
    "bees": {
        "session": "^(.*)_bee", "individual": r"_bee_(.*)$", "test_sessions": 4,
        "test_frames": 100,
        "base_individuals": 3, "base_frames": 20, "size_px": 64, "steps": 300,
        "width": 12, "more_steps": 150,
        "reference": "0,5", "budgets": ("8", "16"),
    },
}  # fmt: skip


def bees(folder: Path) -> None:
    """The labelled crops as a DeepLabCut project, a folder for each bee of each video."""
    source = DATA / "apic-bee/data"
    rows = json.loads((source / "pose_dataset.json").read_text(encoding="utf-8"))
    bodyparts = [str(number) for number in range(32)]
    by_bee: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for row in rows:
        found = re.fullmatch(r"pose/(.*)_bee_id(\d+)_f(\d+)\.png", row["path"])
        if found and row["keypoints"]:
            name = f"{found[1]}_bee_{found[2]}"
            by_bee.setdefault(name, []).append((int(found[3]), row))
    for name, frames in by_bee.items():
        own = folder / "labeled-data" / name
        own.mkdir(parents=True)
        with (own / "CollectedData_x.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["scorer", *["x"] * 64])
            table.writerow(["bodyparts", *[name for name in bodyparts for _ in "xy"]])
            table.writerow(["coords", *["x", "y"] * 32])
            for frame, row in frames:
                shutil.copy(source / row["path"], own / f"img{frame:05d}.png")
                points = [row["keypoints"].get(part, ["", ""]) for part in bodyparts]
                cells = [value for point in points for value in point]
                table.writerow([f"labeled-data/{name}/img{frame:05d}.png", *cells])
    text = yaml.safe_dump({"bodyparts": bodyparts})
    (folder / "config.yaml").write_text(text, encoding="utf-8")


TAIL = {
    "fly20190128_a": 3000, "fly20190128_b": 300, "clip_a": 1000, "clip_b": 100, "cpair_a": 300,
    "cpair_b": 100,
}  # fmt: skip


def long_tailed(folder: Path) -> None:
    """The flies' project with the first so many frames of each video, the videos linked."""
    source = DATA / "flies-dlc"
    (folder / "oracle").mkdir(parents=True)
    shutil.copy(source / "config.yaml", folder)
    (folder / "videos").symlink_to((source / "videos").resolve())
    for name, n_frames in TAIL.items():
        lines = (source / f"oracle/{name}.csv").read_text(encoding="utf-8").splitlines()
        text = "\n".join(lines[: 3 + n_frames]) + "\n"
        (folder / f"oracle/{name}.csv").write_text(text, encoding="utf-8")


MAKERS = {"bees": bees, "tail": long_tailed}


def main() -> None:
    """Run one race and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("archive", choices=list(RACES))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--budgets", nargs="+", help="10 20 40, or 2%% 5%% 10%%")
    parser.add_argument("--features", default="pose", help="pose, hog, alexnet, dino_vits16, …")
    parser.add_argument("--features-weights", metavar="FILE")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = given.out or Path(folder)
        project = DATA / "flies-dlc/config.yaml"
        if given.archive in MAKERS:
            project = out / "project/config.yaml"
            if not project.exists():
                MAKERS[given.archive](project.parent)
        options = RACES[given.archive] | {
            "projects": (project,), "predicted": False, "out": out, "rounds": given.rounds,
            "strategies": given.strategies, "baseline": "stride", "seeds": given.seeds,
            "features": given.features, "features_weights": given.features_weights,
            "error": "mean_px", "jobs": given.jobs,
            "trainer": "unet", "network": "resnet_50", "backbone_weights": None, "device": "cpu",
        }  # fmt: skip
        if given.budgets:
            options["budgets"] = tuple(given.budgets)
        if given.quick:
            options |= {"seeds": 2, "budgets": options["budgets"][:1]}
        plan = read_plan(options)
        rows = run_plan(plan, out, jobs=given.jobs, on_row=told)
        write_report(out, rows, summarise(rows, baseline="stride", error="pool_px"))
        for error, what in ERRORS.items():
            print_table(summarise(rows, baseline="stride", error=error), what)


def print_table(summary: Summary, what: str) -> None:
    """One measure: every strategy at every budget, and against the baseline."""
    print(f"\n{what}: {len(summary.seeds)} seeds; base {summary.base:.2f} px, "
          f"whole pool {summary.whole_pool:.2f} px")  # fmt: skip
    for row in summary.table():
        cells = [f"{value:.2f}" if isinstance(value, float) else str(value or "-")
                 for value in row.values()]  # fmt: skip
        print(f"{cells[0]:58}" + "  ".join(cells[1:]))


def told(row: dict[str, Any]) -> None:
    """One line for an experiment that has ended."""
    print(f"{row['seed']} {row['strategy']} {row['labels']}: {row['mean_px']:.2f}", flush=True)


if __name__ == "__main__":
    main()
