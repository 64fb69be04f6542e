"""The action, with programs in the place of the training: what is tested is what it makes of them.

`pose_model.python` is a script here, which is called as an interpreter would be.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alwatch.actions.deeplabcut import DeepLabCutTraining
from alwatch.errors import ActionError

KEY = "retrain-1-abcd.1-deeplabcut"
RESULT = {
    "key": KEY,
    "shuffle": 2,
    "snapshot": {"file": "/p/snapshot-050.pt", "name": "snapshot-050", "sha256": "0"},
    "frames": {"train": 90, "test": 10},
    "error_px": {"train": {"before": 8.0, "after": 2.0}, "test": {"before": 9.0, "after": 3.25}},
}
WORKDIR = "workdir=$(eval echo \\${$#})\n"
DONE = f"cat > $workdir/result.json <<'X'\n{json.dumps(RESULT)}\nX\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of just so much as the action itself looks at."""
    train = tmp_path / "lab/dlc-models-pytorch/iteration-0/mJan1-trainset95shuffle1/train"
    train.mkdir(parents=True)
    (train / "snapshot-100.pt").write_bytes(b"weights")
    (tmp_path / "lab/config.yaml").write_text("iteration: 0\n")
    (tmp_path / "work").mkdir()
    return tmp_path / "lab/config.yaml"


@pytest.fixture
def deliver(project: Path, tmp_path: Path) -> Callable[..., str]:
    """Train by a script."""

    def call(script: str, evidence: Any = None, **settings: Any) -> str:
        python = tmp_path / "python"
        python.write_text(f"#!/bin/bash\n{WORKDIR}{script}")
        python.chmod(0o755)
        snapshot = next(project.parent.rglob("snapshot-100.pt"), None)
        evidence = {"snapshot": {"file": str(snapshot)}} if evidence is None else evidence
        action = DeepLabCutTraining(**{"project": project, "python": python} | settings)
        return action.deliver(KEY, evidence, tmp_path / "work")

    return call


def log(tmp_path: Path) -> str:
    return (tmp_path / "work/training.log").read_text()


def test_the_outcome_names_the_model_and_its_error(
    deliver: Callable[..., str], project: Path
) -> None:
    assert deliver(DONE) == (
        f"snapshot-050 of shuffle 2 of {project} is trained; on 10 frames held out its error is "
        "3.2 px (before: 9.0 px)"
    )


def test_what_is_done_is_not_done_again(deliver: Callable[..., str], project: Path) -> None:
    first = deliver(DONE)
    project.unlink()
    assert deliver("exit 1") == first


def test_the_program_is_told_what_to_train(
    deliver: Callable[..., str], project: Path, tmp_path: Path
) -> None:
    snapshot = next(project.parent.rglob("*.pt"))
    here = {"tool": "deeplabcut", "project": str(project)}
    held_out = [
        here | {"folder": "m1", "frame": 7},
        here | {"folder": "m2", "frame": 12},
        here | {"folder": "m3", "frame": 1, "project": "/another/config.yaml"},
        here | {"folder": "m4", "frame": 1, "tool": "sleap"},
    ]
    evidence = {"snapshot": {"file": str(snapshot)}, "held_out": held_out}
    deliver(DONE, evidence, epochs=3, device="cuda:1", nice=4, shuffle=1)
    assert json.loads((tmp_path / "work/job.json").read_text()) == {
        "key": KEY, "project": str(project), "snapshot": str(snapshot), "shuffle": 1,
        "held_out": [["m1", 7], ["m2", 12]], "epochs": 3, "device": "cuda:1", "nice": 4,
        "halved": False,
    }  # fmt: skip


def test_it_may_download_nothing_and_on_the_processor_it_sees_no_gpu(
    deliver: Callable[..., str], tmp_path: Path
) -> None:
    deliver("env\n" + DONE, device="cpu")
    said = log(tmp_path).splitlines()
    assert "HF_HUB_OFFLINE=1" in said
    assert "CUDA_VISIBLE_DEVICES=" in said


def fails(deliver: Callable[..., str], *given: Any, **settings: Any) -> ActionError:
    with pytest.raises(ActionError) as caught:
        deliver(*given, **settings)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_crash_is_told_with_its_last_words_and_the_log(
    deliver: Callable[..., str], tmp_path: Path
) -> None:
    error = fails(deliver, "echo some; echo 'ValueError: no such layer' >&2; exit 1")
    assert "its program ended (exit status 1): ValueError: no such layer. Its log is" in str(error)
    assert str(tmp_path / "work/training.log") in str(error)
    assert error.again


def test_a_kill_is_told_with_its_likely_reason(deliver: Callable[..., str]) -> None:
    error = fails(deliver, "kill -9 $$")
    assert "killed by SIGKILL" in str(error)
    assert "memory ran out" in str(error)
    assert error.again


def test_a_program_that_ends_well_without_a_result_has_failed(deliver: Callable[..., str]) -> None:
    assert "exit status 0" in str(fails(deliver, "true"))


def test_a_failure_of_an_attempt_before_is_not_told_again(
    deliver: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "work/error.json").write_text('{"message": "old", "again": false}')
    assert "old" not in str(fails(deliver, "exit 3"))


@pytest.mark.parametrize("again", [True, False])
def test_what_the_program_explains_is_told(deliver: Callable[..., str], again: bool) -> None:
    content = json.dumps({"message": "the disk is full, make room", "again": again})
    error = fails(deliver, f"echo '{content}' > $workdir/error.json; exit 1")
    assert "was to be trained: the disk is full, make room. Its log is" in str(error)
    assert error.again is again


OUT_OF_MEMORY = json.dumps({"message": "memory ran out (CUDA)", "again": True, "memory": True})


def test_where_memory_does_not_suffice_it_is_tried_with_half_the_batch(
    deliver: Callable[..., str], tmp_path: Path
) -> None:
    deliver(
        "grep -q '\"halved\": true' $workdir/job.json || "
        f"{{ echo '{OUT_OF_MEMORY}' > $workdir/error.json; exit 1; }}\n{DONE}"
    )
    assert json.loads((tmp_path / "work/job.json").read_text())["halved"]


def test_half_the_batch_is_tried_once_and_stays_for_later_attempts(
    deliver: Callable[..., str], tmp_path: Path
) -> None:
    script = f"echo started; echo '{OUT_OF_MEMORY}' > $workdir/error.json; exit 1"
    assert "memory ran out" in str(fails(deliver, script))
    assert log(tmp_path).count("started") == 2
    assert fails(deliver, script).again
    assert log(tmp_path).count("started") == 3


@pytest.mark.parametrize("python", ["nowhere", "lab/config.yaml"])
def test_an_interpreter_that_cannot_be_run_is_refused(
    deliver: Callable[..., str], tmp_path: Path, python: str
) -> None:
    error = fails(deliver, "", python=tmp_path / python)
    assert "not a program that can be run" in str(error)
    assert not error.again


def test_an_interpreter_without_deeplabcut_is_refused(deliver: Callable[..., str]) -> None:
    error = fails(deliver, f'exec {sys.executable} -S -E "$@"')  # without its packages
    assert "has no package yaml; install DeepLabCut 3 there" in str(error)
    assert not error.again


def test_a_project_that_is_away_is_asked_for_again(
    deliver: Callable[..., str], project: Path
) -> None:
    project.unlink()
    error = fails(deliver, DONE)
    assert f"{project} was to be trained: it is not there" in str(error)
    assert error.again


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_project_that_cannot_be_written_is_refused_before_days_of_training(
    deliver: Callable[..., str], project: Path, tmp_path: Path
) -> None:
    project.parent.chmod(0o555)
    assert "not writable" in str(fails(deliver, "touch $workdir/ran"))
    assert not (tmp_path / "work/ran").exists()


def test_a_snapshot_of_another_project_is_refused(
    deliver: Callable[..., str], tmp_path: Path
) -> None:
    error = fails(deliver, DONE, {"snapshot": {"file": str(tmp_path / "snapshot-1.pt")}})
    assert "is not in this project" in str(error)
    assert not error.again


def test_a_snapshot_that_is_gone_is_asked_for_again(
    deliver: Callable[..., str], project: Path
) -> None:
    gone = next(project.parent.rglob("*.pt")).with_name("snapshot-200.pt")
    error = fails(deliver, DONE, {"snapshot": {"file": str(gone)}})
    assert "snapshot-200.pt, is not there" in str(error)
    assert error.again


def test_a_folder_that_cannot_be_written_is_told(
    deliver: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "work").rmdir()
    error = fails(deliver, DONE)
    assert f"{tmp_path / 'work'} cannot be written: No such file" in str(error)
    assert error.again


@pytest.mark.parametrize(
    "evidence", [{"snapshot": "x"}, {"held_out": [["a", 1]]}, {"held_out": [{"folder": "a"}]}]
)
def test_evidence_of_another_shape_is_refused(
    deliver: Callable[..., str], evidence: dict[str, Any]
) -> None:
    error = fails(deliver, DONE, evidence)
    assert "tool, project, folder and frame" in str(error)
    assert not error.again


def test_a_project_without_a_model_is_refused(deliver: Callable[..., str], project: Path) -> None:
    error = fails(deliver, DONE, {}, shuffle=3)
    assert "has shuffle 1" in str(error)
    assert not error.again


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(condition: Callable[[], bool], within_s: float = 20) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_program_ends_with_the_action(project: Path, tmp_path: Path, number: int) -> None:
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/bash\n{WORKDIR}echo $$ > $workdir/new; mv $workdir/new $workdir/pid\nsleep 600"
    )
    python.chmod(0o755)
    call = (
        "import sys; from pathlib import Path; from alwatch.actions.deeplabcut import *\n"
        f"DeepLabCutTraining(project={str(project)!r}, python={str(python)!r}).deliver("
        f"'k', {{'snapshot': {{'file': {str(next(project.parent.rglob('*.pt')))!r}}}}}, "
        f"Path({str(tmp_path / 'work')!r}))"
    )
    action = subprocess.Popen([sys.executable, "-c", call])
    pid_file = tmp_path / "work/pid"
    wait_until(pid_file.exists)
    pid = int(pid_file.read_text())
    assert is_running(pid)
    action.send_signal(number)
    action.wait()
    wait_until(lambda: not is_running(pid))
