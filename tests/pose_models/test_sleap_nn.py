"""Models that sleap-nn itself has trained, scored by alwatch and by sleap-nn itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alwatch.errors import PoseModelError, SettingsError
from alwatch.pose_models.prediction import Prediction
from alwatch.pose_models.process import PoseProcess, WorkerRules
from alwatch.pose_models.signals import feature_vectors, signals_of
from alwatch.pose_models.sleap_folder import SleapSource
from alwatch.pose_models.sleap_nn import SleapNnModel

pytest.importorskip("sleap_nn", reason="sleap-nn is not installed")

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

BODYPARTS = ("nose", "middle", "tail")
COLOURS = np.array([[255, 60, 60], [60, 255, 60], [60, 60, 255]])
GREYS = np.array([[120] * 3, [180] * 3, [250] * 3])


def draw(
    n: int, animals: int, *, grey: bool = False, size_px: tuple[int, int] = (90, 108), seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Frames (n, h, w, 3) of animals of three spots each, one beside the other, and the truth."""
    rng = np.random.default_rng(seed)
    height, width = size_px
    frames = np.zeros((n, height, width, 3), np.uint8)
    truth = np.zeros((n, animals, 3, 2), np.float32)
    rows, columns = np.mgrid[:height, :width]
    for i, animal in np.ndindex(n, animals):
        x0 = rng.uniform(18, width / animals - 18) + animal * width / animals
        y0, angle = rng.uniform(20, height - 20), rng.uniform(0, 2 * np.pi)
        for part, r in enumerate((-12, 0, 12)):
            x, y = x0 + r * np.cos(angle), y0 + r * np.sin(angle)
            truth[i, animal, part] = x, y
            spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (1.5 + part) ** 2))
            colour = (GREYS if grey else COLOURS)[part]
            frames[i] = np.maximum(frames[i], (spot[..., None] * colour).astype(np.uint8))
    return frames, truth


def video_of(frames: np.ndarray, folder: Path) -> Any:
    """These frames as images, read by SLEAP's own reader."""
    import sleap_io as sio
    from PIL import Image

    folder.mkdir(parents=True)
    files = [folder / f"{i:03d}.png" for i in range(len(frames))]
    for file, frame in zip(files, frames, strict=True):
        Image.fromarray(frame).save(file)
    return sio.Video.from_filename([str(file) for file in files])


def write_labels(frames: np.ndarray, truth: np.ndarray, folder: Path) -> Path:
    import sleap_io as sio

    video = video_of(frames, folder / "images")
    skeleton = sio.Skeleton(
        list(BODYPARTS), edges=[("nose", "middle"), ("middle", "tail")], name="animal"
    )
    labelled = [
        sio.LabeledFrame(
            video=video,
            frame_idx=i,
            instances=[sio.Instance.from_numpy(points, skeleton=skeleton) for points in truth[i]],
        )
        for i in range(len(frames))
    ]
    path = folder / "labels.slp"
    sio.Labels(labelled).save(str(path))
    return path


UNET = {
    "in_channels": 3, "filters": 16, "filters_rate": 1.5, "max_stride": 8, "output_stride": 2,
    "kernel_size": 3, "convs_per_block": 2, "up_interpolate": True, "middle_block": True,
}  # fmt: skip
MAPS = {"sigma": 1.5, "output_stride": 2}
PARTS = {"part_names": None, **MAPS}
PAFS = {"edges": None, "sigma": 4, "output_stride": 4, "loss_weight": 1.0}
HEADS: dict[str, Any] = {
    "single_instance": {"confmaps": PARTS},
    "bottomup": {"confmaps": {**PARTS, "loss_weight": 1.0}, "pafs": PAFS},
    "centroid": {"confmaps": {"anchor_part": "middle", **MAPS}},
    "centered_instance": {"confmaps": {"anchor_part": "middle", **PARTS}},
}


def train(head: str, labels: Path, into: Path, **more: Any) -> None:
    """A real training, of some hundred steps."""
    from sleap_nn.train import train

    train(
        [str(labels)], use_same_data_for_val=True, backbone_config={"unet": UNET},
        head_configs={head: HEADS[head]}, use_augmentations_train=False, batch_size=4,
        max_epochs=6, min_train_steps_per_epoch=20, learning_rate=3e-3, save_ckpt=True,
        ckpt_dir=str(into), run_name=head, trainer_accelerator="cpu", min_crop_size=None,
        enable_progress_bar=False, **more,
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    heads: tuple[str, ...]
    animals: int
    grey: bool = False
    preprocessing: tuple[tuple[str, Any], ...] = ()


CASES = {
    "single instance, grey, in half size": Case(
        ("single_instance",), 1, grey=True, preprocessing=(("scale", 0.5),)
    ),
    "bottom-up": Case(("bottomup",), 2),
    "top-down": Case(("centroid", "centered_instance"), 2, preprocessing=(("crop_size", 44),)),
}


@dataclass(frozen=True)
class Trained:
    case: Case
    folder: Path
    frames: np.ndarray
    truth: np.ndarray
    model: SleapNnModel
    prediction: Prediction


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """Trains every case when it is first asked for."""

    @cache
    def of(name: str) -> Trained:
        case = CASES[name]
        folder = tmp_path_factory.mktemp("sleap")
        labels = write_labels(*draw(16, case.animals, grey=case.grey), folder)
        for head in case.heads:
            train(head, labels, folder / "models", **dict(case.preprocessing))
        frames, truth = draw(5, case.animals, grey=case.grey, seed=1)
        model = load(folder / "models", case.animals)
        return Trained(case, folder / "models", frames, truth, model, model.predict(frames, 2))

    return of


@pytest.fixture(scope="module", params=CASES, ids=list(CASES))
def trained(request: pytest.FixtureRequest, models: Callable[[str], Trained]) -> Trained:
    return models(request.param)


@pytest.fixture(scope="module")
def bottom_up(models: Callable[[str], Trained]) -> Trained:
    return models("bottom-up")


@pytest.fixture(scope="module")
def top_down(models: Callable[[str], Trained]) -> Trained:
    return models("top-down")


def load(folder: Path, individuals: int | None) -> SleapNnModel:
    located = SleapSource(folder, individuals=individuals).find()
    model = SleapNnModel(**located.model, device="cpu")
    assert model.bodyparts == located.snapshot.bodyparts
    return model


def poses_of_sleap(trained: Trained, frames: np.ndarray, folder: Path) -> list[np.ndarray]:
    """Per frame, x, y and score of what sleap-nn's own predictor finds in images on disk."""
    from sleap_nn.inference import Predictor

    predictor = Predictor.from_model_paths(
        [str(trained.folder / head) for head in trained.case.heads],
        device="cpu",
        max_instances=trained.case.animals,
    )
    labels = predictor.predict(video_of(frames, folder))
    assert [frame.frame_idx for frame in labels] == list(range(len(frames)))
    return [
        np.array([instance.numpy(scores=True) for instance in frame.instances]) for frame in labels
    ]


def assert_same_poses(ours: np.ndarray, theirs: list[np.ndarray]) -> None:
    assert sum(len(animals) for animals in theirs) > 0
    for mine, animals in zip(ours, theirs, strict=True):
        found = mine[~np.isnan(mine[..., 0]).all(axis=1)]
        assert len(found) == len(animals)
        np.testing.assert_allclose(found[..., :2], animals[..., :2], atol=0.01)
        seen = ~np.isnan(found[..., 0])
        np.testing.assert_allclose(found[seen][:, 2], animals[seen][:, 2], atol=1e-4)


def test_poses_agree_with_sleaps_own_predictor(trained: Trained, tmp_path: Path) -> None:
    assert_same_poses(
        trained.prediction.poses, poses_of_sleap(trained, trained.frames, tmp_path / "images")
    )


def test_frames_of_another_size_than_the_trainings_agree_too(
    trained: Trained, tmp_path: Path
) -> None:
    frames, _ = draw(3, trained.case.animals, grey=trained.case.grey, size_px=(74, 100), seed=2)
    ours = trained.model.predict(frames, 3).poses
    assert_same_poses(ours, poses_of_sleap(trained, frames, tmp_path / "images"))


def test_poses_lie_on_the_animals(trained: Trained) -> None:
    """Animals in the order of x, as they were drawn; the spots lie 12 px apart."""
    poses = trained.prediction.poses
    assert poses.shape == (5, trained.case.animals, 3, 3)
    order = np.nanmean(poses[..., 0], axis=2).argsort(axis=1)
    in_order = np.take_along_axis(poses, order[:, :, None, None], axis=1)
    error_px = np.linalg.norm(in_order[..., :2] - trained.truth, axis=-1)
    assert np.nanmedian(error_px) < 2
    assert np.isfinite(error_px).mean() > 0.8


def test_maps_peak_at_the_poses_and_cover_the_frame_alone(trained: Trained) -> None:
    prediction, case = trained.prediction, trained.case
    (maps,) = prediction.maps
    assert prediction.of_crops == (case.heads[0] == "centroid")
    assert maps.bodyparts.tolist() == [0, 1, 2]
    assert maps.n_expected == (2 if case.heads == ("bottomup",) else 1)
    assert maps.min_distance == 3  # two sigmas of 1.5 cells
    if prediction.of_crops:
        # 44 px, padded to the network's 48, in cells of 2 px; two animals in each of 5 frames.
        assert maps.values.shape == (10, 3, 24, 24)
        assert maps.frame.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        return
    # 90 x 108 px in cells of 2 px; in half size, 45 x 54 px.
    stride = 4 if case.grey else 2
    rows, columns = (23, 27) if case.grey else (45, 54)
    assert maps.values.shape == (5, 3, rows, columns)
    for frame, part in np.ndindex(5, 3):
        best = int(maps.values[frame, part].argmax())
        peak = np.array([best % columns, best // columns]) * stride
        nearest = np.abs(prediction.poses[frame, :, part, :2] - peak).max(axis=1)
        assert np.nanmin(nearest) <= 2 * stride  # refinement moves a peak by two cells at most


def test_maps_are_the_heads_output_cut_at_zero(bottom_up: Trained) -> None:
    images = torch.from_numpy(bottom_up.frames).permute(0, 3, 1, 2).float() / 255
    padded = torch.nn.functional.pad(images, (0, 4, 0, 6))  # 108 and 90 px to multiples of 8
    network = bottom_up.model._layer.backend.model.model
    with torch.inference_mode():
        raw = network(padded)["MultiInstanceConfmapsHead"][:, :, :45, :54]
    assert raw.min() < 0  # it is linear: the cut has something to do
    torch.testing.assert_close(
        bottom_up.prediction.maps[0].values, raw.clamp(min=0), atol=1e-5, rtol=1e-4
    )


def test_one_batch_size_gives_what_another_gives(trained: Trained) -> None:
    in_fives = trained.model.predict(trained.frames, 5)
    np.testing.assert_allclose(in_fives.poses, trained.prediction.poses, atol=0.01)
    np.testing.assert_array_equal(in_fives.maps[0].frame, trained.prediction.maps[0].frame)
    torch.testing.assert_close(
        in_fives.maps[0].values, trained.prediction.maps[0].values, atol=1e-4, rtol=1e-3
    )


def test_signals_and_features_come_of_it(trained: Trained) -> None:
    signals = signals_of(trained.prediction)
    assert (signals["absent"] == 0).all()
    assert signals["mpe"].shape == (5, 3)
    assert signals["confidence"].min() > 0.2
    features = trained.prediction.features
    assert features is not None
    assert features.shape[1] == 54  # 16 filters, three times by 1.5
    vectors = feature_vectors(trained.prediction, (90, 108))
    assert vectors is not None
    assert vectors.shape == (5, 108)
    assert np.isfinite(vectors).all()


def test_features_reach_past_the_frame_to_the_end_of_their_last_cells(trained: Trained) -> None:
    features, span_px = trained.prediction.features, trained.prediction.features_span_px
    assert features is not None
    if trained.prediction.of_crops:
        assert span_px is None
        return
    # 90 x 108 px in cells of 8 px: 11.25 x 13.5; in half size, 5.6 x 6.75 cells of 16 px.
    assert features.shape[2:] == ((6, 7) if trained.case.grey else (12, 14))
    assert span_px == (96, 112)


def test_empty_frames_have_no_poses_and_absent_bodyparts(trained: Trained) -> None:
    empty = trained.model.predict(np.zeros((3, 90, 108, 3), np.uint8), 2)
    assert np.isnan(empty.poses).all()
    signals = signals_of(empty)
    assert signals["mpe"].shape == (3, 3)
    if empty.of_crops:
        assert len(empty.maps[0].frame) == 0
        assert (signals["absent"] == 1).all()
    vectors = feature_vectors(empty, (90, 108))
    assert vectors is not None
    assert vectors.shape == (3, 108)


def test_a_frame_without_animals_between_others_keeps_its_place(trained: Trained) -> None:
    frames = trained.frames[:3].copy()
    frames[1] = 0
    mixed = trained.model.predict(frames, 3)
    assert np.isnan(mixed.poses[1]).all()
    np.testing.assert_allclose(mixed.poses[2], trained.prediction.poses[2], atol=0.01)
    if mixed.of_crops:
        assert mixed.maps[0].frame.tolist() == [0, 0, 2, 2]


def test_its_worker_gives_the_same_poses(bottom_up: Trained) -> None:
    located = SleapSource(bottom_up.folder, individuals=2).find()
    with PoseProcess(located, WorkerRules(device="cpu", batch_size=2)) as scorer:
        signals = scorer.score(bottom_up.frames)
    np.testing.assert_allclose(signals["pose"], bottom_up.prediction.poses, atol=0.01)


def test_a_checkpoint_that_could_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hook": Path("/")}, tmp_path / "best.ckpt")
    with pytest.raises(SettingsError, match="could run any code"):
        SleapNnModel([str(tmp_path)], device="cpu")


def test_half_a_checkpoint_may_be_whole_later(bottom_up: Trained, tmp_path: Path) -> None:
    whole = (bottom_up.folder / "bottomup" / "best.ckpt").read_bytes()
    (tmp_path / "best.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PoseModelError, match="just being written"):
        SleapNnModel([str(tmp_path)], device="cpu")


def test_a_model_that_gives_no_poses_is_refused(top_down: Trained) -> None:
    with pytest.raises(SettingsError, match="CentroidLayer"):
        SleapNnModel([str(top_down.folder / "centroid")], device="cpu")
