from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from alwatch.actions.slurm import SubmitJob
from alwatch.errors import ActionError
from tests.actions.helpers import EVIDENCE, KEY, program

# A queue of jobs as a folder: one file a job, named by its number, holding the job's name.
SQUEUE = """\
for given in "$@"; do case "$given" in --name=*) name=${given#--name=};; esac; done
cd "$CLUSTER"
for job in [0-9]*; do [ "$(cat $job)" = "$name" ] && echo $job; done
true"""
SBATCH = """\
name=${2#--job-name=}
number=$((40 + $(ls "$CLUSTER" | wc -l) + 1))
echo "$name" > "$CLUSTER/$number"
echo "$@" > "$CLUSTER/../asked"
cat "$ALWATCH_EVIDENCE" > "$CLUSTER/../evidence"
echo "$number;cluster"
if [ -f "$CLUSTER/../die" ]; then rm "$CLUSTER/../die"; kill -9 $PPID; fi"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cluster"
    folder.mkdir()
    program(tmp_path / "bin" / "squeue", SQUEUE)
    program(tmp_path / "bin" / "sbatch", SBATCH)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER", str(folder))
    return folder


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    folder = tmp_path / "work, of its own"
    folder.mkdir()
    return folder


def submit(workdir: Path) -> str:
    return SubmitJob(command=["--gres=gpu:1", "/lab/train.sh"]).deliver(KEY, EVIDENCE, workdir)


def test_a_job_is_submitted_under_the_key_with_its_evidence(cluster: Path, workdir: Path) -> None:
    assert submit(workdir) == "submitted as job 41"
    asked = (cluster / ".." / "asked").read_text()
    assert asked == f"--parsable --job-name={KEY} --gres=gpu:1 /lab/train.sh\n"
    assert json.loads((cluster / ".." / "evidence").read_bytes()) == EVIDENCE


def test_twice_submits_once(cluster: Path, workdir: Path) -> None:
    submit(workdir)
    assert submit(workdir) == "job 41 was submitted before"
    (cluster / "41").unlink()  # it is done, and the queue has forgotten it
    assert submit(workdir) == "job 41 was submitted before"
    assert not list(cluster.iterdir())


def test_a_kill_before_the_number_is_kept_does_not_submit_twice(
    cluster: Path, workdir: Path
) -> None:
    from tests.actions.helpers import run

    (cluster / ".." / "die").touch()
    settings = {"command": ["/lab/train.sh"]}
    died = run("slurm", settings, workdir)
    assert not died.delivered and signal.SIGKILL.name in died.outcome
    assert run("slurm", settings, workdir).outcome == "job 41 was submitted before"
    assert [path.name for path in cluster.iterdir()] == ["41"]


def test_without_an_answer_of_the_queue_nothing_is_submitted(cluster: Path, workdir: Path) -> None:
    program(cluster / ".." / "bin" / "squeue", "echo controller is down >&2; exit 1")
    with pytest.raises(ActionError, match="squeue ended with exit status 1: controller") as caught:
        submit(workdir)
    assert caught.value.again
    assert not list(cluster.iterdir())


def test_a_machine_without_slurm_is_told_so(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ActionError, match="squeue cannot be run"):
        submit(workdir)
