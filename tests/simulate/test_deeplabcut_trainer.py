"""DeepLabCut's own training, on the lightest of its networks and tiny frames."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from alwatch.errors import SettingsError
from alwatch.pose_models.deeplabcut import DeepLabCutModel
from alwatch.pose_models.signals import feature_vectors, signals_of
from alwatch.simulate.archive import LabelledArchive, read_archive
from alwatch.simulate.conditions import SCORES, Conditions
from alwatch.simulate.deeplabcut_trainer import DeepLabCutTrainer, _write_coco
from alwatch.simulate.presets import NETWORKS
from alwatch.simulate.trainers import trainer_for
from tests.simulate.archives import draw_project

SIZE_PX = (48, 64)
CONDITIONS = Conditions(
    size_px=SIZE_PX, steps=60, batch_size=4, width=6, more_steps=10, base_frames=8,
    base_individuals=1, test_sessions=1, test_frames=8, rounds=1, features="pose",
    reference=("head", "tail"), pck_share=0.1, individual="(.*)", session="(.*)",
    trainer="deeplabcut", network="cspnext_s", device="cpu",
)  # fmt: skip
FEW = replace(CONDITIONS, steps=2, more_steps=2)
ROWS = np.arange(8)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> LabelledArchive:
    config = draw_project(tmp_path_factory.mktemp("p"), {"a": (200, 60, 60)}, n_frames=8)
    return read_archive([config], size_px=SIZE_PX)


def trained(
    archive: LabelledArchive,
    how: Conditions,
    *,
    seed: int = 0,
    start: DeepLabCutModel | None = None,
) -> DeepLabCutModel:
    trainer = DeepLabCutTrainer(how, archive.bodyparts)
    return trainer.train(archive.images, archive.points_in_images(ROWS), seed=seed, start=start)


def error_px(model: DeepLabCutModel, archive: LabelledArchive) -> float:
    poses = np.nan_to_num(model.predict(archive.images, 8).poses[:, 0, :, :2])
    return float(np.linalg.norm(poses - archive.points_in_images(ROWS), axis=2).mean())


def test_it_learns_a_handful_of_frames_by_heart(
    deeplabcut: ModuleType, archive: LabelledArchive
) -> None:
    assert error_px(trained(archive, FEW), archive) > 8
    assert error_px(trained(archive, CONDITIONS), archive) < 5


def test_the_same_seed_trains_the_same_and_another_another(
    deeplabcut: ModuleType, archive: LabelledArchive
) -> None:
    one, same, other = (trained(archive, FEW, seed=seed).weights() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_it_goes_on_from_a_model_which_stays_as_it_was(
    deeplabcut: ModuleType, archive: LabelledArchive
) -> None:
    start = trained(archive, FEW)
    before = {name: value.clone() for name, value in start.weights().items()}
    name = next(n for n, v in before.items() if n.startswith("backbone") and v.ndim == 4)
    moved = (trained(archive, FEW, start=start, seed=1).weights()[name] - before[name]).abs().max()
    anew = (trained(archive, FEW, seed=1).weights()[name] - before[name]).abs().max()
    assert 0 < moved < anew / 10  # two steps of a learning rate of 5e-4
    assert all(torch.equal(before[name], value) for name, value in start.weights().items())


def test_it_leaves_no_files_prints_nothing_and_draws_from_nobodys_randomness(
    deeplabcut: ModuleType, archive: LabelledArchive, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    trained(archive, FEW)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_a_model_says_what_strategies_choose_by(
    deeplabcut: ModuleType, archive: LabelledArchive
) -> None:
    prediction = trained(archive, FEW).predict(archive.images, 3)
    signals = signals_of(prediction)
    assert set(SCORES) <= set(signals)
    assert signals["pose"].shape == (8, 1, 2, 3)
    vectors = feature_vectors(prediction, SIZE_PX)
    assert vectors is not None
    assert vectors.shape == (8, 1024)


def test_more_frames_than_steps_allow_are_not_all_trained_on(
    deeplabcut: ModuleType, archive: LabelledArchive
) -> None:
    how = replace(FEW, steps=1, batch_size=2)
    rows = np.sort(np.random.default_rng(0).permutation(8)[:2])
    trainer = DeepLabCutTrainer(how, archive.bodyparts)
    two = trainer.train(archive.images[rows], archive.points_in_images(rows), seed=0).weights()
    drawn = trained(archive, how).weights()
    assert all(torch.equal(drawn[name], two[name]) for name in two)


def test_a_backbone_starts_from_the_weights_in_a_file(
    deeplabcut: ModuleType, archive: LabelledArchive, tmp_path: Path
) -> None:
    weights = trained(archive, FEW, seed=3).weights()
    bare = {k.removeprefix("backbone."): v for k, v in weights.items() if k.startswith("backbone")}
    for name, content in (("snapshot.pt", {"model": weights}), ("bare.pth", bare)):
        torch.save(content, tmp_path / name)
        how = replace(FEW, backbone_weights=str(tmp_path / name))
        trainer = DeepLabCutTrainer(how, archive.bodyparts)
        first = trainer._first_weights(trainer._config(tmp_path, SIZE_PX, 1, 0))
        assert all(torch.equal(first[f"backbone.{k}"], v) for k, v in bare.items())
        assert not torch.equal(*(w["heads.bodypart.heatmap_head.deconv_layers.0.weight"]
                                 for w in (first, weights)))  # fmt: skip


@pytest.mark.parametrize("content", [b"no weights", None])
def test_weights_that_do_not_fit_are_refused(
    deeplabcut: ModuleType, archive: LabelledArchive, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "weights.pt"
    torch.save({"conv1.weight": torch.zeros(1)}, file)
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match="does not fit the network"):
        trained(archive, replace(FEW, backbone_weights=str(file)))


def test_a_file_of_weights_that_is_not_there_is_refused_at_once() -> None:
    with pytest.raises(SettingsError, match="where there is no file"):
        trainer_for(replace(FEW, backbone_weights="/nowhere/w.pt"), ("a", "b"))


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cuda:x"])
def test_a_device_that_is_not_there_is_refused_at_once(device: str) -> None:
    with pytest.raises(SettingsError, match=f"--device is {device}"):
        trainer_for(replace(FEW, device=device), ("a", "b"))


def test_without_deeplabcut_it_is_said_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deeplabcut", None)
    with pytest.raises(SettingsError, match=r"pip install 'alwatch\[deeplabcut\]'"):
        trainer_for(FEW, ("a", "b"))


def test_every_network_is_one_of_deeplabcuts(
    deeplabcut: ModuleType, archive: LabelledArchive, tmp_path: Path
) -> None:
    for network in NETWORKS:
        trainer = DeepLabCutTrainer(replace(FEW, network=network), archive.bodyparts)
        config = trainer._config(tmp_path, SIZE_PX, 20, 7)
        assert config["train_settings"]["epochs"] == 20
        crop = config["data"]["train"]["crop_sampling"]
        assert (crop["height"], crop["width"]) == SIZE_PX
        first, last = config["runner"]["scheduler"]["params"]["milestones"]
        assert 1 <= first < last < 20


def test_what_nobody_labelled_or_lies_outside_is_not_to_be_seen(tmp_path: Path) -> None:
    frames = np.zeros((2, 30, 40, 3), np.uint8)
    points = np.full((2, 3, 2), np.nan, np.float32)
    points[0] = [[5, 6], [np.nan, 3], [41, 3]]
    _write_coco(tmp_path, frames, points, ("a", "b", "c"))
    written = json.loads((tmp_path / "annotations/frames.json").read_text())
    assert len(written["images"]) == 2
    (annotation,) = written["annotations"]  # nothing is labelled in the second
    assert annotation["keypoints"] == [5, 6, 2, 0, 0, 0, 0, 0, 0]
    assert annotation["bbox"] == [0, 0, 25, 26]


def test_an_experiment_runs_with_deeplabcuts_network(tmp_path: Path) -> None:
    config = draw_project(tmp_path, {name: (200, 60, 60) for name in ("a", "b", "c")}, n_frames=6)
    ran = subprocess.run(
        [
            sys.executable, "-m", "alwatch", "simulate", str(config), "--out",
            str(tmp_path / "out"), "--trainer", "deeplabcut", "--network", "cspnext_s",
            "--device", "cpu", "--strategies", "stride,mpe_softmax", "--budgets", "3",
            "--seeds", "1", "--base-frames", "4", "--test-frames", "4", "--size", "32",
            "--steps", "1", "--more-steps", "1", "--jobs", "1", "--json",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    summary = json.loads(ran.stdout)
    assert {curve["strategy"] for curve in summary["curves"]} == {"stride", "mpe_softmax"}
    assert [line.split()[0] for line in ran.stderr.splitlines()] == ["seed"] * 4
