"""A pose model's worker: what it gives, and what becomes of it when it fails."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alwatch.errors import PoseModelError, SettingsError, StopRequestedError, UnscorableError
from alwatch.pose_models.process import PoseProcess, WorkerRules
from alwatch.pose_models.sidecar import ExportedSource
from tests.pose_models.exported_files import export_colour_spots


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_colour_spots(tmp_path_factory.mktemp("exported"))


def frames(n: int, *, height_px: int = 64, width_px: int = 96) -> np.ndarray:
    """A red and a green spot, the red one moving with the frame."""
    drawn = np.zeros((n, height_px, width_px, 3), np.uint8)
    for i in range(n):
        drawn[i, 8:16, 8 * (i % 8) : 8 * (i % 8) + 8, 0] = 255
        drawn[i, 40:48, 40:48, 1] = 255
    return drawn


def process(
    sidecar: Path,
    rules: WorkerRules = WorkerRules(device="cpu"),  # noqa: B008, frozen
    on_progress: Callable[[int], None] | None = None,
) -> PoseProcess:
    return PoseProcess(ExportedSource(sidecar).find(), rules, on_progress=on_progress)


def rules(**more: object) -> WorkerRules:
    return WorkerRules(device="cpu", **more)  # type: ignore[arg-type]


def test_frames_come_back_as_signals_row_by_row(sidecar: Path) -> None:
    with process(sidecar) as scorer:
        signals = scorer.score(frames(11))
    red = signals["pose"][:, 0, 0]
    np.testing.assert_allclose(red[:, 0], 8 * (np.arange(11) % 8) + 4, atol=1)
    np.testing.assert_allclose(red[:, 1], 12, atol=1)
    assert (signals["mpe"] == 0).all()
    assert (signals["absent"] == 0).all()
    assert signals["uncertainty"].shape == (11,)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_size_changes_nothing(sidecar: Path, batch_size: int) -> None:
    with process(sidecar) as one, process(sidecar, rules(batch_size=batch_size)) as other:
        a, b = one.score(frames(7)), other.score(frames(7))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=1e-5)


def test_frames_of_another_size_follow_without_a_new_worker(sidecar: Path) -> None:
    with process(sidecar) as scorer:
        scorer.score(frames(3))
        pid = scorer.child_pid
        large = scorer.score(frames(5, height_px=256, width_px=320))
        small = scorer.score(frames(2))
        assert scorer.child_pid == pid
    assert len(large["pose"]) == 5
    assert len(small["pose"]) == 2


def test_maps_can_be_had_for_drawing(sidecar: Path) -> None:
    with process(sidecar) as scorer:
        (maps,) = scorer.score_maps(frames(2))
    assert maps.values.shape == (2, 2, 8, 12)
    assert maps.values[1, 0].argmax() == 1 * 12 + 1
    assert not maps.of_crops


def test_the_backbone_gives_vectors_of_unit_length(sidecar: Path) -> None:
    with process(sidecar, rules(wants=frozenset({"features"}))) as scorer:
        vectors = scorer.score(frames(4))["features"]
    assert vectors.shape == (4, 6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_model_without_left_and_right_agrees_with_its_mirror_image(sidecar: Path) -> None:
    with process(sidecar, rules(wants=frozenset({"flip"}))) as scorer:
        flip = scorer.score(frames(4))["flip"]
    assert flip.max() < 0.2


def test_a_killed_worker_is_replaced_and_no_frame_is_lost(sidecar: Path) -> None:
    killed = []

    def kill_once(n: int) -> None:
        if n and not killed:
            killed.append(scorer.child_pid)
            os.kill(scorer.child_pid, signal.SIGKILL)  # type: ignore[arg-type]

    with process(sidecar, rules(batch_size=4), kill_once) as scorer:
        signals = scorer.score(frames(120, height_px=256, width_px=320))
        assert scorer.child_pid not in (None, *killed)
    np.testing.assert_allclose(signals["pose"][:, 0, 0, 0], 8 * (np.arange(120) % 8) + 4, atol=1)


def test_a_worker_that_hangs_is_replaced(sidecar: Path) -> None:
    stopped = []

    def stop_once(n: int) -> None:
        if n and not stopped:
            stopped.append(scorer.child_pid)
            os.kill(scorer.child_pid, signal.SIGSTOP)  # type: ignore[arg-type]

    with process(sidecar, rules(batch_size=4, stall_s=5.0), stop_once) as scorer:
        signals = scorer.score(frames(120, height_px=256, width_px=320))
    assert len(signals["pose"]) == 120


def test_memory_that_runs_out_halves_the_batch(sidecar: Path) -> None:
    with process(sidecar, rules(batch_size=64)) as scorer:
        scorer.score(frames(1))
        assert scorer.child_pid is not None
        status = Path(f"/proc/{scorer.child_pid}/statm").read_text().split()
        held = int(status[0]) * os.sysconf("SC_PAGE_SIZE")
        room = held + 350 * 2**20  # of which the frames take 192
        resource.prlimit(scorer.child_pid, resource.RLIMIT_AS, (room, room))
        signals = scorer.score(frames(64, height_px=1024, width_px=1024))
        assert scorer.batch_size < 64
    assert len(signals["pose"]) == 64


def test_what_cannot_be_scored_one_by_one_is_given_up_with_the_reason(sidecar: Path) -> None:
    def kill_always(n: int) -> None:
        if n:
            os.kill(scorer.child_pid, signal.SIGKILL)  # type: ignore[arg-type]

    with process(sidecar, rules(batch_size=2), kill_always) as scorer:
        with pytest.raises(UnscorableError, match="in batches of 1: its worker ended"):
            scorer.score(frames(60, height_px=512, width_px=512))
        assert scorer.child_pid is None


def test_a_worker_that_was_killed_once_leaves_the_batches_as_large_as_they_were_asked_for(
    sidecar: Path,
) -> None:
    """What ends a worker may be a single video; only memory that ran out is remembered."""
    stopped: list[int] = []

    def end_once(n: int) -> None:
        if n and not stopped:
            stopped.append(n)
            os.kill(scorer.child_pid, signal.SIGTERM)  # type: ignore[arg-type]

    with process(sidecar, rules(batch_size=4), end_once) as scorer:
        scorer.score(frames(120, height_px=256, width_px=320))
        assert stopped
        assert scorer.batch_size == 4


def test_frames_are_tried_again_after_a_crash_even_one_by_one(sidecar: Path) -> None:
    killed: list[int] = []

    def kill_once(n: int) -> None:
        if n and not killed:
            killed.append(n)
            os.kill(scorer.child_pid, signal.SIGKILL)  # type: ignore[arg-type]

    with process(sidecar, rules(batch_size=1), kill_once) as scorer:
        assert len(scorer.score(frames(30, height_px=512, width_px=512))["pose"]) == 30


def test_who_waits_for_a_model_that_loads_for_long_can_end_it(
    sidecar: Path, tmp_path: Path
) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nsleep 600\n")
    slow.chmod(0o755)

    def stop(n: int) -> None:
        raise StopRequestedError("stopping")

    with process(sidecar, rules(python=slow), stop) as scorer:
        with pytest.raises(StopRequestedError):
            scorer.open()
        assert scorer.child_pid is None


def test_what_a_script_around_the_interpreter_has_started_ends_with_it(
    sidecar: Path, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    wrapper = tmp_path / "python"
    wrapper.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {note}\nwait\n")
    wrapper.chmod(0o755)
    with (
        process(sidecar, rules(python=wrapper, open_s=2.0)) as scorer,
        pytest.raises(PoseModelError, match="said nothing for 2 s"),
    ):
        scorer.open()
    status = Path(f"/proc/{int(note.read_text())}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_a_file_that_may_be_run_but_is_no_program_is_refused(sidecar: Path, tmp_path: Path) -> None:
    empty = tmp_path / "python"
    empty.write_bytes(b"\x7fELF no program")
    empty.chmod(0o755)
    with (
        process(sidecar, rules(python=empty)) as scorer,
        pytest.raises(SettingsError, match="not a program that can be run"),
    ):
        scorer.open()


def test_a_model_that_changed_since_it_was_found_scores_nothing(tmp_path: Path) -> None:
    """Its scores would stand under the sum of the old file."""
    sidecar = export_colour_spots(tmp_path)
    found = ExportedSource(sidecar).find()
    os.utime(sidecar, ns=(1, 1))
    with PoseProcess(found, rules()) as scorer:
        for _ in range(2):
            with pytest.raises(PoseModelError, match="changed while"):
                scorer.score(frames(1))


def test_no_frames_have_no_maps(sidecar: Path) -> None:
    with process(sidecar) as scorer:
        assert scorer.score_maps(frames(0)) == []
        assert scorer.score(frames(0)) == {}


def test_an_interpreter_that_is_not_there_is_refused(sidecar: Path) -> None:
    with (
        process(sidecar, rules(python=Path("/no/such/python"))) as scorer,
        pytest.raises(SettingsError, match=r"pose_model\.python is /no/such/python"),
    ):
        scorer.open()


def test_an_interpreter_without_torch_is_refused_with_its_last_words(
    sidecar: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    with (
        process(sidecar, rules(python=bare / "bin/python")) as scorer,
        pytest.raises(PoseModelError, match=r"could not be loaded.*No module named"),
    ):
        scorer.open()


def test_no_worker_outlives_its_parent(sidecar: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from alwatch.pose_models.process import PoseProcess, WorkerRules\n"
        "from alwatch.pose_models.sidecar import ExportedSource\n"
        "scorer = PoseProcess(ExportedSource(Path(sys.argv[1])).find(), WorkerRules())\n"
        "scorer.open()\n"
        "print(scorer.child_pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(sidecar)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    until_s = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
