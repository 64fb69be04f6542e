from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from alwatch.errors import PoseModelError, SettingsError
from alwatch.pose_models.deeplabcut_project import DeepLabCutSource
from tests.pose_models.projects import copy_openfield


def source(config: Path, snapshot: str = "best", **more: object) -> DeepLabCutSource:
    settings = {"shuffle": 1, "snapshot": snapshot} | more
    return DeepLabCutSource(config, **settings)  # type: ignore[arg-type]


def train_folder(config: Path) -> Path:
    return next(config.parent.glob("dlc-models-pytorch/iteration-0/*shuffle1/train"))


@pytest.fixture
def project(data_dir: Path, tmp_path: Path) -> Path:
    return copy_openfield(data_dir, tmp_path / "openfield")


def test_best_is_the_best_that_deeplabcut_kept(openfield: Path) -> None:
    located = source(openfield).find()
    assert located.snapshot.name == "snapshot-best-100"
    assert located.snapshot.bodyparts == ("snout", "leftear", "rightear", "tailbase")
    assert located.snapshot.n_individuals == 1
    assert Path(located.model["snapshots"][0]).is_file()


def test_best_is_the_latest_where_none_was_kept(project: Path) -> None:
    (train_folder(project) / "snapshot-best-100.pt").unlink()
    assert source(project).find().snapshot.name == "snapshot-045"


def test_latest_is_the_one_of_most_epochs(project: Path) -> None:
    train = train_folder(project)
    shutil.copy(train / "snapshot-045.pt", train / "snapshot-150.pt")
    assert source(project, "latest").find().snapshot.name == "snapshot-150"


@pytest.mark.parametrize("name", ["snapshot-045", "snapshot-045.pt"])
def test_a_snapshot_can_be_named(openfield: Path, name: str) -> None:
    assert source(openfield, name).find().snapshot.name == "snapshot-045"


def test_two_snapshots_have_two_sums(openfield: Path) -> None:
    sums = {source(openfield, name).find().snapshot.sha256 for name in ("best", "snapshot-045")}
    assert len(sums) == 2


def test_a_moved_project_has_the_same_snapshot(project: Path, tmp_path: Path) -> None:
    before = source(project).find().snapshot
    moved = tmp_path / "elsewhere"
    project.parent.rename(moved)
    for path in moved.glob("dlc-models-pytorch/**/*.yaml"):
        path.write_text(path.read_text().replace(str(project.parent), str(moved)))
    assert source(moved / "config.yaml").find().snapshot == before


def test_other_weights_under_the_same_name_are_another_snapshot(project: Path) -> None:
    source_of_project = source(project)
    before = source_of_project.find().snapshot.sha256
    train = train_folder(project)
    shutil.copy(train / "snapshot-045.pt", train / "snapshot-best-100.pt")
    assert source_of_project.find().snapshot.sha256 != before


def test_other_preprocessing_is_another_snapshot(project: Path) -> None:
    before = source(project).find().snapshot.sha256
    path = train_folder(project) / "pytorch_config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"]["inference"]["normalize_images"] = False
    path.write_text(yaml.safe_dump(config))
    assert source(project).find().snapshot.sha256 != before


def test_an_older_snapshot_is_verified_where_it_lies(project: Path) -> None:
    older = source(project, "snapshot-045", ensemble=("best",)).find()
    assert source(project).find().snapshot != older.snapshot
    assert source(project).verify(older) == older
    in_training(project, lambda config: config.update(train_settings={"epochs": 7}))
    assert source(project).verify(older) == older  # a training that begins writes it anew
    in_training(project, lambda config: config["data"].update(colormode="BGR"))
    with pytest.raises(PoseModelError, match=r"^its files were overwritten"):
        source(project).verify(older)


def test_a_snapshot_that_a_training_has_removed_is_not_verified(project: Path) -> None:
    older = source(project, "snapshot-045").find()
    (train_folder(project) / "snapshot-045.pt").unlink()
    with pytest.raises(PoseModelError, match=r"snapshot-045\.pt is gone or cannot be read$"):
        source(project).verify(older)


def test_an_ensemble_names_all_its_snapshots(openfield: Path) -> None:
    located = source(openfield, ensemble=("snapshot-045",)).find()
    assert located.snapshot.name == "snapshot-best-100+snapshot-045"
    assert len(located.model["snapshots"]) == 2
    assert located.snapshot.sha256 != source(openfield).find().snapshot.sha256


def add_retrained(project: Path, shuffle: int, **record: object) -> Path:
    """A model as alwatch adds it after a training; returns its training folder."""
    own = train_folder(project).parent
    model = own.with_name(own.name.replace("shuffle1", f"shuffle{shuffle}"))
    (model / "train").mkdir(parents=True)
    shutil.copy(own / "train/pytorch_config.yaml", model / "train")
    shutil.copy(own / "train/snapshot-045.pt", model / "train/snapshot-020.pt")
    known = ["snapshot-045.pt", "snapshot-best-100.pt"]
    content = {"base_shuffle": 1, "known": known} | record
    (model / "alwatch.json").write_text(json.dumps(content))
    return model / "train"


def test_what_alwatch_has_trained_from_a_shuffle_is_its_later_snapshot(project: Path) -> None:
    followed = source(project)
    followed.find()
    add_retrained(project, 2)
    train = add_retrained(project, 10)
    located = followed.find()
    assert located.snapshot.name == "shuffle10/snapshot-020"
    assert located.model["snapshots"] == [str(train / "snapshot-020.pt")]
    assert located.model["config"] == str(train / "pytorch_config.yaml")
    assert located.snapshot.sha256 == source(project, "snapshot-045").find().snapshot.sha256


def test_a_snapshot_that_is_named_is_not_replaced_by_a_retrained_one(project: Path) -> None:
    add_retrained(project, 2)
    assert source(project, "snapshot-best-100").find().snapshot.name == "snapshot-best-100"


def test_an_ensemble_stays_that_of_the_shuffle(project: Path) -> None:
    add_retrained(project, 2)
    located = source(project, ensemble=("snapshot-045",)).find()
    assert located.snapshot.name == "shuffle2/snapshot-020+snapshot-045"


def test_what_the_lab_has_trained_itself_since_is_later_still(project: Path) -> None:
    add_retrained(project, 2)
    train = train_folder(project)
    shutil.copy(train / "snapshot-045.pt", train / "snapshot-best-150.pt")
    assert source(project).find().snapshot.name == "snapshot-best-150"


@pytest.mark.parametrize("record", [{"base_shuffle": 3}, {"base_shuffle": None}, {"known": []}])
def test_what_was_trained_from_another_model_is_none_of_its_snapshots(
    project: Path, record: dict[str, object]
) -> None:
    add_retrained(project, 2, **record)
    assert source(project).find().snapshot.name == "snapshot-best-100"


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_shuffle_of_the_labs_own_or_a_torn_record_is_left_alone(
    project: Path, content: str
) -> None:
    train = add_retrained(project, 2)
    (train.parent / "alwatch.json").write_text(content)
    assert source(project).find().snapshot.name == "snapshot-best-100"


def test_where_the_last_retrained_snapshot_is_deleted_the_one_before_counts(
    project: Path,
) -> None:
    add_retrained(project, 2)
    (add_retrained(project, 3) / "snapshot-020.pt").unlink()
    assert source(project).find().snapshot.name == "shuffle2/snapshot-020"


def test_an_unknown_snapshot_is_refused_with_those_there_are(openfield: Path) -> None:
    with pytest.raises(SettingsError, match="snapshot-045, snapshot-best-100"):
        source(openfield, "snapshot-7").find()


def test_an_unknown_shuffle_is_refused_with_those_there_are(openfield: Path) -> None:
    with pytest.raises(SettingsError, match=r"Shuffle 3 .* shuffle 1"):
        source(openfield, shuffle=3).find()


def test_a_project_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not there; it must be the config"):
        source(tmp_path / "config.yaml").find()


def test_a_folder_is_no_project(openfield: Path) -> None:
    with pytest.raises(SettingsError, match="a folder; it must be the config"):
        source(openfield.parent).find()


def test_a_tensorflow_project_is_refused(project: Path) -> None:
    shutil.rmtree(project.parent / "dlc-models-pytorch")
    (project.parent / "dlc-models" / "iteration-0").mkdir(parents=True)
    with pytest.raises(SettingsError, match="TensorFlow models only"):
        source(project).find()


def test_a_damaged_config_is_refused(project: Path) -> None:
    project.write_text("Task: [unclosed")
    with pytest.raises(SettingsError, match="no valid YAML"):
        source(project).find()


def test_a_config_that_names_no_bodyparts_is_refused(project: Path) -> None:
    path = train_folder(project) / "pytorch_config.yaml"
    path.write_text("method: bu\n")
    with pytest.raises(SettingsError, match="names no bodyparts"):
        source(project).find()


def in_training(project: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = train_folder(project) / "pytorch_config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))


@pytest.mark.parametrize("name", ["metadata", "data"])
@pytest.mark.parametrize("value", ["text", [1], 3])
def test_a_section_that_is_none_is_refused(project: Path, name: str, value: object) -> None:
    in_training(project, lambda config: config.update({name: value}))
    with pytest.raises(SettingsError) as caught:
        source(project).find()
    assert f"pytorch_config.yaml has {name} {value!r}; it must be a section" in str(caught.value)


@pytest.mark.parametrize("name", ["bodyparts", "unique_bodyparts", "individuals"])
@pytest.mark.parametrize("value", ["snout", {"snout": 1}, 4])
def test_names_that_are_no_list_are_refused(project: Path, name: str, value: object) -> None:
    in_training(project, lambda config: config["metadata"].update({name: value}))
    with pytest.raises(SettingsError) as caught:
        source(project).find()
    assert f"has metadata.{name} {value!r}; it must be a list of names" in str(caught.value)


def test_keys_that_deeplabcut_does_not_write_are_refused(project: Path) -> None:
    in_training(project, lambda config: config["model"].update({1: 2}))
    with pytest.raises(SettingsError, match=r"pytorch_config\.yaml holds settings that Deep"):
        source(project).find()


@pytest.mark.parametrize("content", ["date: 2018-13-45", "[" * 5000, "a: \udcff"])
def test_what_yaml_cannot_read_is_refused(project: Path, content: str) -> None:
    project.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError, match=r"config\.yaml is no valid YAML"):
        source(project).find()


@pytest.mark.parametrize("fractions", [0.95, ["most"], {"a": 1}, [[0.95]], [float("inf")]])
def test_a_training_fraction_that_is_no_list_of_numbers_is_refused(
    project: Path, fractions: object
) -> None:
    folder = train_folder(project).parent
    shutil.copytree(folder, folder.with_name(folder.name.replace("trainset", "trainset1")))
    config = yaml.safe_load(project.read_text())
    source(project).find()  # that of TrainingFraction
    project.write_text(yaml.safe_dump(config | {"TrainingFraction": fractions}))
    with pytest.raises(SettingsError, match="it must be a list of numbers such as"):
        source(project).find()


@pytest.mark.parametrize("iteration", ["0/..", [0], -1, 0.5])
def test_an_iteration_that_is_no_number_is_refused(project: Path, iteration: object) -> None:
    config = yaml.safe_load(project.read_text()) | {"iteration": iteration}
    project.write_text(yaml.safe_dump(config))
    with pytest.raises(SettingsError, match=r"has iteration .*; it must be a whole number"):
        source(project).find()


def test_a_path_that_the_system_refuses_is_reported_as_not_readable(project: Path) -> None:
    """Such as one in the home of somebody else; a name that is too long fails for root too."""
    with pytest.raises(PoseModelError, match="File name too long; let alwatch read it"):
        source(project.parent / ("n" * 300) / "config.yaml").find()


def test_a_config_that_cannot_be_read_now_is_tried_again(project: Path) -> None:
    path = train_folder(project) / "pytorch_config.yaml"
    path.unlink()
    path.symlink_to("/proc/self/mem")
    with pytest.raises(PoseModelError, match=r"pytorch_config\.yaml cannot be read: .*try again"):
        source(project).find()
