"""Does a score know where the model is wrong? Rank correlation with the true error.

Run `python -m tests.bench.bench_uncertainty openfield` or `… flies` from the repository's root;
`--quick` takes every fifth of the frames and, of the flies, two of the models.

openfield: the trained DeepLabCut snapshots of the openfield project on the video of another
mouse. Nobody has labelled that video; the truth is the median of three ResNet-50 models that the
authors trained for 100,000 steps, where all three are sure (likelihood >= 0.9) and lie within
5 px of each other. The frames that people have labelled and the snapshots have not seen, six of
the training video and two of a third mouse, are too few for a correlation; their error is printed.

flies: a small U-Net, trained on 300 frames of one fly, on the five others; the truth is the
oracle, a label for every frame. A figure is the mean over the (model, other fly) pairs, with the
lowest and the highest.

A frame's error is the mean distance of its bodyparts, those without a truth left out; a frame's
uncertainty is a score's mean over the bodyparts, their maximum, or the mean of the top quarter.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from alwatch.pose_models.deeplabcut import DeepLabCutModel
from alwatch.pose_models.deeplabcut_project import DeepLabCutSource
from alwatch.pose_models.prediction import PoseModel
from alwatch.pose_models.signals import signals_of
from alwatch.scores.aggregation import aggregate
from alwatch.scores.pose_signals import flipped_poses, pose_disagreement, swap_pairs
from tests.pose_models.projects import copy_openfield

DATA = Path(os.environ.get("ALWATCH_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
AGREE_PX = 5.0
SURE = 0.9
FLIES = ("clip_a", "clip_b", "cpair_a", "cpair_b", "fly20190128_a", "fly20190128_b")


def scores_of(model: PoseModel, frames: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Per-frame uncertainties by name, and the poses (n, k, 2)."""
    swaps = swap_pairs(model.bodyparts)
    parts = []
    for low in range(0, len(frames), 16):
        batch = frames[low : low + 16]
        with torch.inference_mode():
            signals = signals_of(model.predict(batch, 16))
            mirrored = model.predict(np.ascontiguousarray(batch[:, :, ::-1]), 16).poses
        back = flipped_poses(mirrored, frames.shape[2], swaps)
        signals["flip"] = pose_disagreement(signals["pose"], back)
        parts.append(signals)
    signals = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    unsure = 1 - signals["confidence"]
    mpe = np.where(signals["absent"] > 0, np.nan, signals["mpe"])
    absent_worst = np.where(signals["absent"] > 0, 1, signals["mpe"])
    rows = {
        "mpe, top quarter (default)": aggregate(mpe, "top_quarter"),
        "mpe, mean": aggregate(mpe, "mean"),
        "mpe, max": aggregate(mpe, "max"),
        "mpe, mean, absent = 1": aggregate(absent_worst, "mean"),
        "mpe_softmax, max (the study's)": aggregate(signals["mpe_softmax"], "max"),
        "mpe_softmax, mean": aggregate(signals["mpe_softmax"], "mean"),
        "1 - confidence, mean": aggregate(unsure, "mean"),
        "1 - confidence, top quarter": aggregate(unsure, "top_quarter"),
        "flip, mean, unseen = 1": aggregate(np.nan_to_num(signals["flip"], nan=1.0), "mean"),
        "mpe + (1 - confidence), mean": aggregate(absent_worst + unsure, "mean"),
    }
    return {k: np.nan_to_num(v) for k, v in rows.items()}, signals["pose"][:, 0, :, :2]


def correlations(scores: dict[str, np.ndarray], error_px: np.ndarray) -> dict[str, float]:
    known = np.isfinite(error_px)
    return {
        name: float(spearmanr(values[known], error_px[known]).statistic)
        if np.ptp(values[known]) > 0
        else 0.0
        for name, values in scores.items()
    }


def frames_of(path: Path, indices: np.ndarray) -> np.ndarray:
    wanted = set(indices.tolist())
    with av.open(str(path)) as video:
        return np.stack(
            [
                frame.to_ndarray(format="rgb24")
                for index, frame in enumerate(video.decode(video=0))
                if index in wanted
            ]
        )


def mean_error_px(poses: np.ndarray, truth: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(poses - truth, axis=2)
    known = np.isfinite(distance)
    total = np.where(known, distance, 0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


# --- openfield ---------------------------------------------------------------------------------


def openfield_truth() -> np.ndarray:
    """Points (frames, bodyparts, 2) on which three well-trained models agree, else NaN."""
    tables = sorted((DATA / "dlc-primer").glob("m3v1mp4DLC_resnet50*.h5"))
    seen = np.stack([pd.read_hdf(t).to_numpy().reshape(-1, 4, 3) for t in tables])
    middle = np.median(seen[..., :2], axis=0)
    spread = np.linalg.norm(seen[..., :2] - middle, axis=3).max(axis=0)
    sure = (seen[..., 2] >= SURE).all(axis=0) & (spread <= AGREE_PX)
    return np.where(sure[..., None], middle, np.nan)


def openfield(quick: bool) -> None:
    truth = openfield_truth()
    indices = np.arange(0, len(truth), 25 if quick else 5)
    with tempfile.TemporaryDirectory() as folder:
        config = copy_openfield(DATA, Path(folder) / "openfield")
        frames = frames_of(config.parent / "videos/m3v1mp4.mp4", indices)
        for snapshot in ("snapshot-045", "snapshot-best-100"):
            located = DeepLabCutSource(config, shuffle=1, snapshot=snapshot).find().model
            model = DeepLabCutModel(located["config"], located["snapshots"][0], device="cpu")
            scores, poses = scores_of(model, frames)
            error_px = mean_error_px(poses, truth[indices])
            n = int(np.isfinite(error_px).sum())
            print(f"\n{snapshot}: {n} frames of m3v1mp4, mean error {np.nanmean(error_px):.1f} px")
            for name, value in correlations(scores, error_px).items():
                print(f"  {name:<34} {value:6.3f}")
            print(f"  on 2 labelled frames of a third mouse: {_third_mouse_px(model):.1f} px")


def _third_mouse_px(model: PoseModel) -> float:
    folder = DATA / "dlc-primer/mouse_m7s3"
    table = pd.read_hdf(next(folder.glob("CollectedData_*.h5")))
    images = [pd.Series(row if isinstance(row, tuple) else row.split("/")).iloc[-1]
              for row in table.index]  # fmt: skip
    errors = []
    for image, row in zip(images, table.to_numpy().reshape(-1, 4, 2), strict=True):
        frame = np.asarray(_png(folder / image))[None]
        pose = model.predict(frame, 1).poses[:, 0, :, :2]
        errors.append(mean_error_px(pose, row[None]))
    return float(np.nanmean(np.concatenate(errors)))


def _png(path: Path) -> np.ndarray:
    with av.open(str(path)) as image:
        return next(image.decode(video=0)).to_ndarray(format="rgb24")


# --- flies -------------------------------------------------------------------------------------


def fly(name: str) -> tuple[Path, np.ndarray, tuple[str, ...]]:
    table = pd.read_csv(DATA / f"flies-dlc/oracle/{name}.csv", header=[0, 1, 2], index_col=0)
    bodyparts = tuple(dict.fromkeys(table.columns.get_level_values(1)))
    points = table.to_numpy().reshape(len(table), len(bodyparts), 2)
    return DATA / f"flies-dlc/videos/{name}.mp4", points, bodyparts


def pairs(quick: bool) -> Iterator[tuple[str, str, dict[str, float], int, float]]:
    from alwatch.pose_models.exported import ExportedModel
    from alwatch.pose_models.unet import export_unet, train_unet

    n_test = 60 if quick else 300
    test = {}
    for name in FLIES:
        path, points, _ = fly(name)
        indices = np.unique(np.linspace(0, len(points) - 1, n_test).astype(int))
        test[name] = frames_of(path, indices), points[indices]
    for number, base in enumerate(FLIES[:2] if quick else FLIES):
        path, points, bodyparts = fly(base)
        indices = np.unique(np.linspace(0, len(points) - 1, 300).astype(int))
        net = train_unet(
            frames_of(path, indices), points[indices], input_size_px=(80, 80), seed=number
        )
        with tempfile.TemporaryDirectory() as folder:
            model = ExportedModel(
                str(
                    export_unet(
                        net, Path(folder) / "fly.yaml", bodyparts=bodyparts, input_size_px=(80, 80)
                    )
                ),
                device="cpu",
            )
            for other in FLIES:
                if other != base:
                    frames, truth = test[other]
                    scores, poses = scores_of(model, frames)
                    error_px = mean_error_px(poses, truth)
                    found = correlations(scores, error_px)
                    n = int(np.isfinite(error_px).sum())
                    yield base, other, found, n, float(np.nanmean(error_px))


def flies(quick: bool) -> None:
    results = []
    for base, other, found, n, error_px in pairs(quick):
        results.append((found, n))
        print(f"trained on {base}, {n} frames of {other}: {error_px:.1f} px", flush=True)
    print(f"\n{len(results)} pairs, {sum(n for _, n in results)} frames; mean (lowest, highest)")
    for name in results[0][0]:
        values = np.array([found[name] for found, _ in results])
        print(f"  {name:<34} {values.mean():6.3f} ({values.min():6.3f}, {values.max():6.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("archive", choices=["openfield", "flies"])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    {"openfield": openfield, "flies": flies}[arguments.archive](arguments.quick)
