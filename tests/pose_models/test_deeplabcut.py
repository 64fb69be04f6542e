"""Real DeepLabCut models, scored by alwatch and by DeepLabCut itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from alwatch.errors import PoseModelError, SettingsError
from alwatch.pose_models.deeplabcut import DeepLabCutModel
from alwatch.pose_models.deeplabcut_project import DeepLabCutSource
from alwatch.pose_models.prediction import Prediction
from alwatch.pose_models.signals import feature_vectors, signals_of
from tests.pose_models.deeplabcut_models import build_model, images

pytestmark = pytest.mark.filterwarnings("ignore")


def load(config: Path, snapshot: str = "best") -> DeepLabCutModel:
    model = DeepLabCutSource(config, shuffle=1, snapshot=snapshot).find().model
    return DeepLabCutModel(
        model["config"], model["snapshots"][0], detector=model["detector"], device="cpu"
    )


@pytest.fixture(scope="module")
def clip(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames from all over the openfield video, losslessly."""
    source = data_dir / "dlc-openfield/openfield-Pranav-2018-10-30/videos/m3v1mp4.mp4"
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    with av.open(str(source)) as video, av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "bgr0"
        for index, frame in enumerate(video.decode(video=0)):
            if index % 97 == 0:
                picture = av.VideoFrame.from_ndarray(frame.to_ndarray(format="bgr24"), "bgr24")
                out.mux(stream.encode(picture))
        out.mux(stream.encode())
    return path


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


@pytest.fixture(scope="module")
def model(openfield: Path, deeplabcut: ModuleType) -> DeepLabCutModel:
    return load(openfield)


def test_poses_agree_with_deeplabcuts_own_analysis(
    openfield: Path, clip: Path, model: DeepLabCutModel, deeplabcut: ModuleType, tmp_path: Path
) -> None:
    deeplabcut.analyze_videos(
        str(openfield), [str(clip)], shuffle=1, destfolder=str(tmp_path), device="cpu",
        batch_size=8,
    )  # fmt: skip
    (table,) = tmp_path.glob("*.h5")
    theirs = pd.read_hdf(table).to_numpy().reshape(-1, 4, 3)
    ours = model.predict(frames_of(clip), 8).poses[:, 0]
    assert len(ours) == len(theirs) == 25
    np.testing.assert_allclose(ours[..., :2], theirs[..., :2], atol=0.01)
    np.testing.assert_allclose(ours[..., 2], theirs[..., 2], atol=1e-4)


def test_heat_maps_are_exactly_those_of_deeplabcuts_model(
    clip: Path, openfield: Path, model: DeepLabCutModel
) -> None:
    from deeplabcut.pose_estimation_pytorch.apis import utils

    located = DeepLabCutSource(openfield, shuffle=1, snapshot="best").find().model
    runner = utils.get_pose_inference_runner(
        located["config"], located["snapshots"][0], device="cpu"
    )
    frames = frames_of(clip)[:4]
    inputs = torch.cat([runner.preprocessor(frame, {})[0] for frame in frames])
    with torch.inference_mode():
        theirs = runner.model(inputs)["bodypart"]["heatmap"]
    (maps,) = model.predict(frames, 4).maps
    assert torch.equal(maps.values, theirs.clamp(min=0))
    assert theirs.min() < 0  # it is linear: the clamp has something to do


def test_the_better_snapshot_is_the_surer_one(
    clip: Path, openfield: Path, model: DeepLabCutModel
) -> None:
    frames = frames_of(clip)
    better = signals_of(model.predict(frames, 8))
    worse = signals_of(load(openfield, "snapshot-045").predict(frames, 8))
    assert better["confidence"].mean() > worse["confidence"].mean()


HEADS: dict[str, dict[str, Any]] = {
    "heat maps, multi-animal, top-down": {
        "net_type": "cspnext_s", "multi": True, "top_down": True, "detector": "ssdlite",
    },
    "part affinity fields and unique bodyparts": {
        "net_type": "dlcrnet_stride16_ms5", "multi": True, "unique": True, "identity": True,
    },
    "RTMPose": {"net_type": "rtmpose_s", "multi": True, "top_down": True, "detector": "ssdlite"},
    "DEKR": {"net_type": "dekr_w18", "multi": True},
}  # fmt: skip


@pytest.fixture(scope="module", params=HEADS, ids=list(HEADS))
def head(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, deeplabcut: ModuleType
) -> tuple[str, DeepLabCutModel, Prediction]:
    config = build_model(tmp_path_factory.mktemp("heads") / "project", **HEADS[request.param])
    loaded = load(config)
    return request.param, loaded, loaded.predict(images(5), 2)


def test_every_kind_of_head_gives_maps_poses_and_features(
    head: tuple[str, DeepLabCutModel, Prediction],
) -> None:
    name, loaded, prediction = head
    n_bodyparts = 6 if "unique" in name else 4
    assert prediction.poses.shape == (5, 2, n_bodyparts, 3)
    assert {number for maps in prediction.maps for number in maps.bodyparts} == set(
        range(n_bodyparts)
    )
    for maps in prediction.maps:
        assert maps.values.min() >= 0
        assert maps.values.max() <= 1
        assert (maps.values.shape[2] == 1) == (name == "RTMPose")
    signals = signals_of(prediction)
    assert signals["mpe"].shape == (5, n_bodyparts)
    assert np.isfinite(signals["mpe"]).all()
    vectors = feature_vectors(prediction, (128, 160))
    assert vectors is not None
    assert np.isfinite(vectors).all()
    assert len(loaded.bodyparts) == n_bodyparts


MAPS = {
    # 11.3 px to a sigma, in cells of 32 px: two cells is the least.
    "heat maps, multi-animal, top-down": [([0, 1, 2, 3], 2)],
    # Plateaus of 17 px to all sides, in cells of 4 px; sigmas of 11.3 px, in cells of 8 px. The
    # head that tells the two individuals apart has no part in it.
    "part affinity fields and unique bodyparts": [([0, 1, 2, 3], 8), ([4, 5], 3)],
    # 5.66 bins to a sigma.
    "RTMPose": [([0, 1, 2, 3], 11), ([0, 1, 2, 3], 11)],
    # 8.5 px to a sigma, in cells of 4 px.
    "DEKR": [([0, 1, 2, 3], 4)],
}


def test_the_heads_of_bodyparts_give_maps_with_two_sigmas_between_peaks(
    head: tuple[str, DeepLabCutModel, Prediction],
) -> None:
    name, _, prediction = head
    found = [(maps.bodyparts.tolist(), maps.min_distance) for maps in prediction.maps]
    assert found == MAPS[name]


def test_frames_in_which_nothing_is_detected_have_features_of_zeros(
    head: tuple[str, DeepLabCutModel, Prediction],
) -> None:
    _, loaded, prediction = head
    if loaded._detector is None:
        return
    least, loaded._detector.model.model.score_thresh = loaded._detector.model.model.score_thresh, 2
    empty = loaded.predict(images(3), 2)
    loaded._detector.model.model.score_thresh = least
    assert np.isnan(empty.poses).all()
    assert empty.poses.shape[0] == 3
    assert (signals_of(empty)["absent"] == 1).all()
    vectors = feature_vectors(empty, (128, 160))
    assert prediction.features is not None
    assert vectors is not None
    np.testing.assert_array_equal(vectors, np.zeros((3, 2 * prediction.features.shape[1])))


def test_one_batch_size_gives_what_another_gives(
    head: tuple[str, DeepLabCutModel, Prediction],
) -> None:
    """Which also shows that maps of crops go to the frames that they were cut from."""
    _, loaded, in_twos = head
    in_fives = loaded.predict(images(5), 5)
    alone = [loaded.predict(images(5)[i : i + 1], 1) for i in range(5)]
    np.testing.assert_allclose(in_fives.poses, in_twos.poses, atol=0.05)
    for number, maps in enumerate(in_twos.maps):
        np.testing.assert_array_equal(maps.frame, in_fives.maps[number].frame)
        for i in range(5):
            mine = maps.values[torch.from_numpy(maps.frame == i)]
            torch.testing.assert_close(mine, alone[i].maps[number].values, atol=1e-3, rtol=1e-3)


def test_logits_become_scores_and_linear_maps_are_only_cut_at_zero(
    head: tuple[str, DeepLabCutModel, Prediction],
) -> None:
    name, loaded, _ = head
    raw: dict[str, Any] = {}
    hooks = [
        module.register_forward_hook(lambda m, i, output, key=key: raw.setdefault(key, output))
        for key, module in loaded._runner.model.heads.items()
    ]
    seen = loaded.predict(images(5)[:1], 8)
    for hook in hooks:
        hook.remove()
    output = raw["bodypart"]
    if "heatmap" in output:
        logits = loaded._runner.model.heads["bodypart"].predictor.apply_sigmoid
        wanted = output["heatmap"].sigmoid() if logits else output["heatmap"].clamp(min=0)
        assert logits == (name == "part affinity fields and unique bodyparts")
        assert torch.equal(seen.maps[0].values, wanted[:, :4])


def test_a_top_down_model_without_its_detector_is_refused(
    tmp_path: Path, deeplabcut: ModuleType
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = build_model(
            tmp_path / "p", net_type="cspnext_s", multi=True, top_down=True, detector="ssdlite"
        )
    next(config.parent.glob("**/snapshot-detector-001.pt")).unlink()
    with pytest.raises(SettingsError, match="detector snapshot 'best' was asked for"):
        DeepLabCutSource(config, shuffle=1, snapshot="best").find()


needs_multiples_of_32_px = pytest.mark.parametrize("head", ["DEKR"], indirect=True)


@needs_multiples_of_32_px
def test_padding_is_black_below_and_to_the_right_and_cut_off_the_maps(
    head: tuple[str, DeepLabCutModel, Prediction],
) -> None:
    _, model, _ = head
    frames = images(2, height_px=100, width_px=130)
    prediction = model.predict(frames, 2)
    canvas = np.zeros((2, 128, 160, 3), np.float32)
    canvas[:, :100, :130] = frames
    canvas = (canvas / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    inputs = torch.from_numpy(canvas).permute(0, 3, 1, 2).float()
    network = model._runner.model
    with torch.inference_mode():
        features = network.backbone(inputs)
        outputs = network(inputs)["bodypart"]
        poses = network.heads["bodypart"].predictor(4, outputs)["poses"][..., :2].numpy()
    # Cells of 4 px: 25 x 32.5 of them are on the frame.
    assert prediction.features is not None
    torch.testing.assert_close(prediction.features, features[:, :, :25, :33], atol=1e-3, rtol=1e-3)
    assert prediction.features_span_px == (100, 132)
    on_frame = outputs["heatmap"][:, :4, :25, :33].clamp(min=0)
    torch.testing.assert_close(prediction.maps[0].values, on_frame, atol=1e-4, rtol=1e-3)
    found = np.isfinite(prediction.poses[..., 0])
    assert found.any()
    np.testing.assert_allclose(prediction.poses[found][:, :2], poses[found], atol=0.05)


@needs_multiples_of_32_px
def test_padded_frames_get_the_same_scores_every_time(
    head: tuple[str, DeepLabCutModel, Prediction],
) -> None:
    _, model, _ = head
    frames = images(2, height_px=100, width_px=130)
    first, *others = (model.predict(frames, 2) for _ in range(4))
    for other in others:
        assert torch.equal(first.maps[0].values, other.maps[0].values)
        np.testing.assert_array_equal(first.poses, other.poses)


@needs_multiples_of_32_px
def test_after_an_error_no_frames_get_the_poses_of_others(
    head: tuple[str, DeepLabCutModel, Prediction],
) -> None:
    _, model, _ = head
    batches = [images(5)[i : i + 2] for i in range(3)]
    expected = [model.predict(batch, 2).poses for batch in batches]
    assert np.isfinite(expected).any()

    def fail(module: Any, inputs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = model._runner.model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.predict(images(5)[3:], 2)
    hook.remove()
    with pytest.raises(PoseModelError, match="poses of 4 frames for 2"):
        model.predict(batches[0], 2)
    for batch, poses in zip(batches, expected, strict=True):
        np.testing.assert_allclose(model.predict(batch, 2).poses, poses, atol=0.05)


class WritesFile:
    """Unpickled in full, it makes an empty file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def without_care(config: Path, into: Path) -> Path:
    """A copy of a pytorch_config.yaml that wants its snapshots unpickled in full."""
    settings = yaml.safe_load(config.read_text())
    settings["runner"]["load_weights_only"] = False
    if settings.get("detector"):
        settings["detector"]["runner"]["load_weights_only"] = False
    into.write_text(yaml.safe_dump(settings))
    return into


def test_a_snapshot_that_would_run_code_is_refused_whatever_the_project_says(
    openfield: Path, deeplabcut: ModuleType, tmp_path: Path
) -> None:
    located = DeepLabCutSource(openfield, shuffle=1, snapshot="best").find().model
    config = without_care(Path(located["config"]), tmp_path / "pytorch_config.yaml")
    torch.save({"model": {}, "more": WritesFile(tmp_path / "ran")}, tmp_path / "snapshot.pt")
    with pytest.raises(SettingsError, match=r"snapshot\.pt holds more than weights"):
        DeepLabCutModel(str(config), str(tmp_path / "snapshot.pt"), device="cpu")
    assert not (tmp_path / "ran").exists()


def test_nor_is_a_detector_that_would_run_code_loaded(
    tmp_path: Path, deeplabcut: ModuleType
) -> None:
    project = build_model(
        tmp_path / "p", net_type="rtmpose_s", multi=True, top_down=True, detector="ssdlite"
    )
    located = DeepLabCutSource(project, shuffle=1, snapshot="best").find().model
    config = without_care(Path(located["config"]), tmp_path / "pytorch_config.yaml")
    torch.save({"model": {}, "more": WritesFile(tmp_path / "ran")}, tmp_path / "boxes.pt")
    with pytest.raises(SettingsError, match=r"boxes\.pt holds more than weights"):
        DeepLabCutModel(
            str(config), located["snapshots"][0], detector=str(tmp_path / "boxes.pt"), device="cpu"
        )
    assert not (tmp_path / "ran").exists()
