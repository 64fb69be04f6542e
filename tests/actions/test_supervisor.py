from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alwatch.actions.supervisor import GRACE_S, ActionProcess
from tests.actions.helpers import (
    EVIDENCE,
    is_gone,
    program,
    request,
    run,
    wait_for,
)

# Writes down who it is and who it has left behind, then works for a minute.
WORKER = """\
sh -c 'echo $$ > {0}/second; sleep 60; echo late > {0}/late' &
echo $$ > {0}/first
sleep 60"""


def worker(folder: Path) -> dict[str, list[str]]:
    return {"command": [str(program(folder / "worker", WORKER.format(folder)))]}


def pids(folder: Path) -> list[int]:
    """The process numbers that a worker has written down, once they are there."""
    files = [folder / "first", folder / "second"]
    wait_for(lambda: all(f.is_file() and f.read_text().endswith("\n") for f in files))
    return [int(file.read_text()) for file in files]


def test_an_action_runs_to_its_end(tmp_path: Path) -> None:
    end = run("file", {"folder": str(tmp_path)}, tmp_path / "work")
    assert end.delivered
    assert end.outcome.startswith("wrote ")


def test_a_refusal_arrives_with_all_that_it_says(tmp_path: Path) -> None:
    script = program(tmp_path / "busy", "exit 75")
    end = run("command", {"command": [str(script)]}, tmp_path / "work")
    assert (end.delivered, end.again, end.counts, end.retry_after_s) == (False, True, False, None)


def test_a_process_that_takes_nothing_holds_nobody_up(tmp_path: Path) -> None:
    long = EVIDENCE | {"frames": [["video.mp4", frame] for frame in range(100_000)]}
    asked = request("file", {"folder": str(tmp_path)}, tmp_path / "work", long)
    process = ActionProcess(asked, timeout_s=60)
    os.kill(process.pid, signal.SIGSTOP)
    for _ in range(10):
        assert process.poll() is None  # more than a pipe holds has yet to be sent
    os.kill(process.pid, signal.SIGCONT)
    end = wait_for(process.poll)
    assert end.delivered
    assert process.poll() == end
    assert json.loads(next(tmp_path.glob("*.json")).read_bytes()) == long


def test_a_process_that_dies_says_so(tmp_path: Path) -> None:
    process = ActionProcess(request("command", worker(tmp_path), tmp_path / "w"), timeout_s=60)
    started = pids(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    end = wait_for(process.poll)
    assert (end.delivered, end.outcome) == (False, "its process died (killed by SIGKILL)")
    wait_for(lambda: all(map(is_gone, started)))


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    asked = request("file", {"folder": str(tmp_path)}, tmp_path / "w")
    end = wait_for(ActionProcess(asked | {"part": "nothing.here:Part"}, timeout_s=60).poll)
    assert (end.delivered, end.again) == (False, True)
    assert "needs the package nothing" in end.outcome


def test_a_defect_is_told_by_the_last_line_of_its_log(tmp_path: Path) -> None:
    asked = request("webhook", {"url": 5}, tmp_path / "w")
    end = wait_for(ActionProcess(asked, timeout_s=60).poll)
    assert end.outcome.startswith("its process died (exit status 1): TypeError: ")
    assert "Traceback" in (tmp_path / "w" / "log.txt").read_text()


def test_settings_that_lack_something_are_not_tried_again(tmp_path: Path) -> None:
    end = run("mail", {"to": ["a@b"], "attempts": 8}, tmp_path / "w")
    assert (end.again, end.outcome) == (False, "do is mail, which needs sender; set it.")


def test_one_that_is_stopped_ends_with_all_that_it_started(tmp_path: Path) -> None:
    process = ActionProcess(request("command", worker(tmp_path), tmp_path / "w"), timeout_s=60)
    started = pids(tmp_path)
    process.stop()
    end = wait_for(process.poll)
    assert (end.delivered, end.outcome) == (False, "it was ended with the daemon or by hand")
    wait_for(lambda: all(map(is_gone, [*started, process.pid])))
    assert not (tmp_path / "late").exists()


def test_one_that_does_not_want_to_end_is_killed(tmp_path: Path) -> None:
    times = {"now": 0.0}
    script = program(tmp_path / "p", f"trap '' TERM; touch {tmp_path}/deaf; sleep 60; sleep 60")
    process = ActionProcess(
        request("command", {"command": [str(script)]}, tmp_path / "w"),
        timeout_s=7,
        clock_s=lambda: times["now"],
    )
    wait_for((tmp_path / "deaf").exists)
    times["now"] = 7
    process.poll()
    os.kill(process.pid, 0)  # asked, and still there
    times["now"] += GRACE_S
    assert wait_for(process.poll).outcome == "it was ended after 7 s (timeout_s)"


DAEMON = """\
import json, sys, time
from alwatch.actions.supervisor import ActionProcess
process = ActionProcess(json.loads(sys.argv[1]), timeout_s=60)
while process.poll() is None:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_goes_on_when_the_daemon_has_died(tmp_path: Path, number: signal.Signals) -> None:
    asked = json.dumps(request("command", worker(tmp_path), tmp_path / "w"))
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON, asked])
    started = pids(tmp_path)
    parent = int(Path(f"/proc/{started[0]}/stat").read_text().rpartition(")")[2].split()[1])
    daemon.send_signal(number)
    daemon.wait()
    wait_for(lambda: all(map(is_gone, [*started, parent])))
    assert not (tmp_path / "late").exists()


def test_a_program_does_not_outlive_the_process_that_waits_for_it(tmp_path: Path) -> None:
    asked = json.dumps(request("command", worker(tmp_path), tmp_path)).encode()
    with subprocess.Popen(
        [sys.executable, "-m", "alwatch.actions"], stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdin is not None
        process.stdin.write(asked + b"\n")
        process.stdin.flush()
        first, second = pids(tmp_path)
        process.kill()
    wait_for(lambda: is_gone(first))
    os.kill(second, signal.SIGKILL)


def test_two_attempts_at_one_delivery_never_work_at_the_same_time(tmp_path: Path) -> None:
    script = program(
        tmp_path / "p",
        f"mkdir {tmp_path}/alone || exit 1\nsleep 0.3\nrmdir {tmp_path}/alone\necho done",
    )
    asked = request("command", {"command": [str(script)]}, tmp_path / "w")
    both = [ActionProcess(asked, timeout_s=60) for _ in range(2)]
    assert [wait_for(each.poll).outcome for each in both] == ["done", "done"]


def test_it_can_be_asked_by_hand(tmp_path: Path) -> None:
    asked = json.dumps(request("file", {"folder": str(tmp_path)}, tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "alwatch.actions"], input=asked, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["delivered"] is True
    assert done.returncode == 0
