from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alwatch.actions.deeplabcut_settings import (
    check_bodyparts,
    check_kind,
    for_running,
    model_settings,
)
from alwatch.errors import ActionError


def own() -> dict[str, Any]:
    return {
        "method": "bu",
        "metadata": {"bodyparts": ["nose", "tail"], "individuals": ["a"], "project_path": "/lab"},
        "runner": {
            "key_metric": "test.mAP",
            "scheduler": {
                "type": "SequentialLR",
                "params": {
                    "schedulers": [
                        {"type": "LinearLR", "params": {"total_iters": 20}},
                        {"type": "CosineAnnealingLR", "params": {"T_max": 180}},
                    ],
                    "milestones": [20],
                },
            },
            "snapshots": {"max_snapshots": 5, "save_epochs": 25, "save_optimizer_state": False},
        },
        "train_settings": {"epochs": 200, "batch_size": 8, "seed": 42, "weight_init": {"a": 1}},
        "logger": {"type": "WandbLogger"},
    }


def test_a_schedule_is_stretched_to_the_epochs() -> None:
    settings = model_settings(own(), epochs=50, halved=False, seed="k")
    params = settings["runner"]["scheduler"]["params"]
    assert params["milestones"] == [5]
    assert [each["params"] for each in params["schedulers"]] == [{"total_iters": 5}, {"T_max": 45}]
    assert settings["train_settings"]["epochs"] == 50


def test_a_new_model_is_trained_like_the_one_it_goes_on_from_but_alone_on_this_machine() -> None:
    before = own()
    settings = model_settings(before, epochs=200, halved=False, seed="k")
    assert before == own()
    assert settings["logger"] is None
    assert settings["train_settings"]["weight_init"] is None
    assert settings["train_settings"]["batch_size"] == 8
    assert settings["runner"] == own()["runner"]


@pytest.mark.parametrize(("batch_size", "half"), [(8, 4), (1, 1)])
def test_batches_may_be_halved(batch_size: int, half: int) -> None:
    before = own()
    before["train_settings"]["batch_size"] = batch_size
    settings = model_settings(before, epochs=200, halved=True, seed="k")
    assert settings["train_settings"]["batch_size"] == half


def test_the_seed_is_the_deliverys() -> None:
    seeds = [
        model_settings(own(), epochs=1, halved=False, seed=key)["train_settings"]["seed"]
        for key in ("a", "a", "b")
    ]
    assert seeds[0] == seeds[1] != seeds[2]


def test_the_program_saves_every_epoch_and_chooses_none_by_the_held_out_frames() -> None:
    settings = model_settings(own(), epochs=200, halved=False, seed="k")
    running = for_running(settings, Path("/w/train/c.yaml"), Path("/w"), done=3)
    assert running["runner"]["snapshots"]["save_epochs"] == 1
    assert running["runner"]["snapshots"]["max_snapshots"] > 1
    assert running["runner"]["key_metric"] != "test.mAP"
    assert running["metadata"]["project_path"] == "/w"
    assert running["train_settings"]["seed"] == settings["train_settings"]["seed"] + 3
    assert settings["metadata"]["project_path"] == "/lab"


@pytest.mark.parametrize("method", ["td", "TD", "ctd", None])
def test_models_that_need_another_model_beside_them_are_refused(method: str | None) -> None:
    with pytest.raises(ActionError, match=r"bottom-up models \(bu\) can be trained") as caught:
        check_kind(own() | {"method": method})
    assert not caught.value.again
    check_kind(own())


def test_memory_replay_is_refused() -> None:
    settings = own()
    settings["train_settings"]["weight_init"] = {"memory_replay": True}
    with pytest.raises(ActionError, match="memory replay"):
        check_kind(settings)


def test_a_project_with_other_bodyparts_by_now_is_refused() -> None:
    new = own()
    new["metadata"] = {"bodyparts": ["nose", "tail", "ear"], "individuals": ["b"]}
    with pytest.raises(ActionError, match=r"\['nose', 'tail', 'ear'\], and the model m has") as e:
        check_bodyparts(new, own(), "m")
    assert not e.value.again
    new["metadata"] = {"bodyparts": ["nose", "tail"], "individuals": ["b"]}
    check_bodyparts(new, own(), "m")
