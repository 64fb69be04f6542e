from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from alwatch.errors import PoseModelError, SettingsError
from alwatch.pose_models.sleap_folder import SleapSource

HEADS = ("single_instance", "centroid", "centered_instance", "bottomup", "multi_class_bottomup")


def write_model(folder: Path, head: str, **preprocessing: Any) -> Path:
    """A model folder as sleap-nn lays it out, with weights that nobody loads."""
    folder.mkdir(parents=True)
    config = {
        "data_config": {
            "preprocessing": {"scale": 1.0, "crop_mode": "fixed", **preprocessing},
            "skeletons": [
                {"nodes": [{"name": "nose"}, {"name": "tail"}], "edges": [], "name": "fly"}
            ],
        },
        "model_config": {
            "head_configs": {name: {"confmaps": {}} if name == head else None for name in HEADS}
        },
    }
    (folder / "training_config.yaml").write_text(yaml.safe_dump(config))
    (folder / "best.ckpt").write_bytes(head.encode())
    return folder


@pytest.fixture
def single(tmp_path: Path) -> Path:
    return write_model(tmp_path / "1.single_instance", "single_instance")


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Named so that the order of the names is not that of the work."""
    write_model(tmp_path / "models" / "a.instance", "centered_instance")
    write_model(tmp_path / "models" / "b.centroid", "centroid")
    return tmp_path / "models"


def test_a_single_instance_model_is_found(single: Path) -> None:
    located = SleapSource(single).find()
    assert located.snapshot.kind == "sleap"
    assert located.snapshot.name == "1.single_instance"
    assert located.snapshot.bodyparts == ("nose", "tail")
    assert located.snapshot.n_individuals == 1
    assert located.model == {"folders": [str(single)], "individuals": 1}


def test_a_folder_that_holds_one_model_will_do(single: Path) -> None:
    assert SleapSource(single.parent).find() == SleapSource(single).find()


def test_a_top_down_model_is_two_folders_the_centroids_first(pair: Path) -> None:
    located = SleapSource(pair, individuals=3).find()
    assert located.snapshot.name == "b.centroid+a.instance"
    assert located.snapshot.n_individuals == 3
    assert located.model["folders"] == [str(pair / "b.centroid"), str(pair / "a.instance")]


def test_links_to_model_folders_will_do(pair: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    for folder in pair.iterdir():
        (chosen / folder.name).symlink_to(folder)
    linked, real = (SleapSource(path, individuals=2).find() for path in (chosen, pair))
    assert linked.snapshot == real.snapshot


def test_a_model_for_several_animals_needs_their_number(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", "bottomup")
    with pytest.raises(SettingsError, match=r"bottomup model.*set pose_model\.individuals"):
        SleapSource(folder).find()
    assert SleapSource(folder, individuals=4).find().snapshot.n_individuals == 4


@pytest.mark.parametrize("name", ["training_config.yaml", "best.ckpt"])
def test_another_config_or_checkpoint_is_another_snapshot(single: Path, name: str) -> None:
    source = SleapSource(single)
    before = source.find().snapshot.sha256
    assert source.find().snapshot.sha256 == before
    with (single / name).open("ab") as file:
        file.write(b"\n")
    assert source.find().snapshot.sha256 != before


def test_either_stage_trained_again_is_another_snapshot(pair: Path) -> None:
    sums = {SleapSource(pair, individuals=2).find().snapshot.sha256}
    for folder in pair.iterdir():
        (folder / "best.ckpt").write_bytes(b"new")
        sums.add(SleapSource(pair, individuals=2).find().snapshot.sha256)
    assert len(sums) == 3


def test_more_animals_are_another_snapshot(pair: Path) -> None:
    two, three = (SleapSource(pair, individuals=n).find().snapshot.sha256 for n in (2, 3))
    assert two != three


def test_a_moved_model_is_the_same_snapshot(single: Path, tmp_path: Path) -> None:
    before = SleapSource(single).find().snapshot
    moved = tmp_path / "elsewhere" / single.name
    shutil.copytree(single, moved)
    assert SleapSource(moved).find().snapshot == before


def test_a_model_is_verified_where_a_link_has_led_to_it(pair: Path, tmp_path: Path) -> None:
    link, other = tmp_path / "current", tmp_path / "other"
    shutil.copytree(pair, other)
    (other / "a.instance" / "best.ckpt").write_bytes(b"new")
    link.symlink_to(pair)
    source = SleapSource(link, individuals=2)
    located = source.find()
    link.unlink()
    link.symlink_to(other)
    assert source.find().snapshot != located.snapshot
    assert source.verify(located) == SleapSource(link, individuals=3).verify(located) == located


def test_a_model_whose_files_are_others_or_gone_is_not_verified(single: Path) -> None:
    source = SleapSource(single)
    located = source.find()
    (single / "best.ckpt").write_bytes(b"new")
    with pytest.raises(PoseModelError, match=r"^its files were overwritten \(.*best\.ckpt\)$"):
        source.verify(located)
    (single / "best.ckpt").unlink()
    with pytest.raises(PoseModelError, match=r"best\.ckpt is gone or cannot be read$"):
        source.verify(located)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not there; it must be the model folder"):
        SleapSource(tmp_path / "nowhere").find()


def test_a_file_is_no_model_folder(single: Path) -> None:
    with pytest.raises(SettingsError, match="a file; it must be the model folder"):
        SleapSource(single / "best.ckpt").find()


def test_a_folder_without_models_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"video{number}.mp4").touch()
    with pytest.raises(SettingsError, match=r"holds video0\.mp4, .*video4\.mp4 and 2 more"):
        SleapSource(tmp_path).find()


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds nothing"):
        SleapSource(tmp_path).find()


def test_a_tensorflow_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "training_config.json").write_text("{}")
    (tmp_path / "best_model.h5").touch()
    with pytest.raises(SettingsError, match="TensorFlow model"):
        SleapSource(tmp_path).find()


@pytest.mark.parametrize("head", ["centroid", "centered_instance"])
def test_one_half_of_a_top_down_model_is_refused(tmp_path: Path, head: str) -> None:
    folder = write_model(tmp_path / "half", head)
    with pytest.raises(SettingsError, match=rf"half \({head}\); a top-down model needs both"):
        SleapSource(folder, individuals=2).find()


def test_other_heads_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", "multi_class_bottomup")
    with pytest.raises(SettingsError, match=r"m \(multi_class_bottomup\); models that can be"):
        SleapSource(folder, individuals=2).find()


def test_of_many_models_one_must_be_chosen(pair: Path) -> None:
    write_model(pair / "c.single", "single_instance")
    with pytest.raises(SettingsError, match=r"c\.single \(single_instance\)"):
        SleapSource(pair, individuals=2).find()


def test_a_model_trained_on_tiles_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", "single_instance", tiling={"enabled": True})
    with pytest.raises(SettingsError, match="trained on tiles"):
        SleapSource(folder).find()


def test_a_model_that_crops_by_boxes_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "a", "centroid")
    write_model(tmp_path / "b", "centered_instance", crop_mode="bbox")
    with pytest.raises(SettingsError, match="crop_mode is bbox"):
        SleapSource(tmp_path, individuals=2).find()


def test_a_model_without_a_checkpoint_is_refused(single: Path) -> None:
    (single / "best.ckpt").unlink()
    with pytest.raises(SettingsError, match=r"has no best\.ckpt"):
        SleapSource(single).find()


@pytest.mark.parametrize(
    "content", [b"data_config: [unclosed", b"\xff\xfe\xff", b"date: 2018-13-45", b"[" * 5000]
)
def test_a_damaged_config_is_refused(single: Path, content: bytes) -> None:
    (single / "training_config.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match="no valid YAML"):
        SleapSource(single).find()


@pytest.mark.parametrize("content", ["", "- 1\n", "model_config: {head_configs: {bottomup: null}}"])
def test_a_config_without_a_head_is_refused(single: Path, content: str) -> None:
    (single / "training_config.yaml").write_text(content)
    with pytest.raises(SettingsError, match="names no head"):
        SleapSource(single).find()


@pytest.mark.parametrize("skeletons", [None, [], [{"edges": []}]])
def test_a_config_that_names_no_nodes_is_refused(single: Path, skeletons: object) -> None:
    path = single / "training_config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data_config"]["skeletons"] = skeletons
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(SettingsError, match="names no nodes"):
        SleapSource(single).find()


def test_a_config_that_cannot_be_read_now_is_tried_again(single: Path) -> None:
    """A name without its content, as on a file server that has lost its disk."""
    path = single / "training_config.yaml"
    path.unlink()
    path.symlink_to("/proc/self/mem")
    with pytest.raises(PoseModelError, match="try again"):
        SleapSource(single).find()


def test_a_path_that_the_system_refuses_is_reported_as_not_readable(tmp_path: Path) -> None:
    """Such as one in the home of somebody else; a name that is too long fails for root too."""
    with pytest.raises(PoseModelError, match="File name too long; let alwatch read it"):
        SleapSource(tmp_path / ("n" * 300)).find()
