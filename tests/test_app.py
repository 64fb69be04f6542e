from __future__ import annotations

from fractions import Fraction
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from alwatch.app import PARTS, find_part
from alwatch.embedders.networks import DINO_MODELS
from alwatch.errors import NothingToDoError, SettingsError
from alwatch.records import Timeline
from tests.labelling.helpers import SKELETON, make_queue, read_frames
from tests.labelling.helpers import make_video as queued_video
from tests.videos import SETTINGS, make_app


@pytest.mark.parametrize("dotted", sorted({d for kind in PARTS.values() for d in kind.values()}))
def test_every_part_is_where_the_table_says(dotted: str) -> None:
    module, attribute = dotted.split(":")
    assert callable(getattr(import_module(module), attribute))


def test_the_table_names_every_dino_model() -> None:
    assert {name for name in PARTS["embedder"] if name.startswith("dino")} == set(DINO_MODELS)


def test_an_unknown_part_names_the_nearest_and_all() -> None:
    with pytest.raises(SettingsError, match=r"did you mean dino_vits16\?.*alexnet, "):
        find_part("embedder", "dino_vit16", setting="embedding.model")


def test_weights_for_an_embedder_without_any_are_refused(tmp_path: Path) -> None:
    app = make_app(tmp_path, SETTINGS + "embedding: {weights: w.pth}\n")
    with pytest.raises(SettingsError, match="hog has no weights"):
        _ = app.embedder


EXPORT = "exports: [{{to: {to}, project: {project}, package: true}}]\n"


def test_a_tool_gets_the_settings_that_it_takes(tmp_path: Path) -> None:
    project = tmp_path / "labels.slp"
    app = make_app(tmp_path, SETTINGS + EXPORT.format(to="sleap", project=project))
    video = queued_video(tmp_path / "cam.mp4", (3,))
    tool = app.labelling_tool("sleap", project)
    tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    assert project.with_name("labels.queue-0003.pkg.slp").exists()
    assert not project.exists()


def test_a_setting_that_a_tool_does_not_take_is_refused(tmp_path: Path) -> None:
    app = make_app(tmp_path, SETTINGS + EXPORT.format(to="folder", project=tmp_path))
    with pytest.raises(SettingsError, match=r"exports\.package is True, but folder does not"):
        app.labelling_tool("folder", tmp_path)


def test_a_part_whose_package_is_not_installed_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PARTS["labelling"], "sleap", "sleap_io_that_is_not_there:Tool")
    with pytest.raises(SettingsError, match=r"needs the package sleap_io.*alwatch\[sleap\]"):
        find_part("labelling", "sleap", setting="exports.to")


def test_a_tool_is_told_of_its_server(tmp_path: Path) -> None:
    export = "{to: label_studio, project: /q, url: 'http://127.0.0.1:1', token_file: /no/token}"
    app = make_app(tmp_path, SETTINGS + f"exports: [{export}]\n")
    assert vars(app.labelling_tool("label_studio", Path("/q")))["_server"] is not None
    assert vars(app.labelling_tool("label_studio", Path("/other")))["_server"] is None


def test_a_server_for_a_tool_that_has_none_is_refused(tmp_path: Path) -> None:
    export = "{to: coco, project: /q, url: 'http://127.0.0.1:1', token_file: /no/token}"
    app = make_app(tmp_path, SETTINGS + f"exports: [{export}]\n")
    with pytest.raises(
        SettingsError, match=r"exports\.url is http://127.0.0.1:1, but coco does not"
    ):
        app.labelling_tool("coco", Path("/q"))


@pytest.mark.parametrize("method", ["uniform", "keyframes", "adaptive"])
def test_every_sampling_method_can_be_made(tmp_path: Path, method: str) -> None:
    settings = SETTINGS.replace("rate_hz: 5", f"method: {method}")
    assert make_app(tmp_path, settings).sampler is not None


def test_a_stride_takes_the_place_of_the_rate(tmp_path: Path) -> None:
    sampler = make_app(tmp_path, SETTINGS.replace("rate_hz: 5", "stride: 7")).sampler
    timeline = Timeline(np.arange(30), np.ones(30, bool), Fraction(1, 25), "packets", True)
    assert sampler.first(timeline).tolist() == [0, 7, 14, 21, 28]


def test_nothing_embedded_is_the_answer_no(tmp_path: Path) -> None:
    with pytest.raises(NothingToDoError, match="no frame is embedded with it yet"):
        make_app(tmp_path).embedded_with()


# --- trigger rules -------------------------------------------------------------------------------

TRAINING = """\
pose_model:
  kind: deeplabcut
  project: lab/config.yaml
  shuffle: 3
  device: cuda:1
triggers:
  - name: retrain
    new_labels: 50
    actions:
      - {do: deeplabcut, epochs: 20}
  - name: tell
    error_px: 8
    actions:
      - {do: deeplabcut, device: cpu}
      - {do: file, folder: told}
  - name: also
    new_labels: 50
    actions:
      - {do: deeplabcut}
      - {do: command, command: [train]}
"""


def test_a_training_is_of_the_project_of_pose_model(tmp_path: Path) -> None:
    rules = make_app(tmp_path, SETTINGS + TRAINING).loop_rules()
    ((kind, settings),) = rules.actions["retrain"]
    assert kind == "deeplabcut"
    assert {name: settings[name] for name in ("project", "shuffle", "device", "epochs")} == {
        "project": str(tmp_path / "lab/config.yaml"),
        "shuffle": 3,
        "device": "cuda:1",
        "epochs": 20,
    }
    assert rules.actions["tell"][0][1]["device"] == "cpu"
    # After the third rule a snapshot may come from elsewhere.
    assert rules.leaves_out == {"retrain", "tell"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: deeplabcut", "kind: sleap", "not train with DeepLabCut"),
        ("name: tell", "name: retrain", "give each rule a name of its own"),
    ],
)
def test_rules_that_cannot_work_are_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        make_app(tmp_path, SETTINGS + TRAINING.replace(old, new, 1))
