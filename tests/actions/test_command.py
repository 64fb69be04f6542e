from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import pytest

from alwatch.actions.command import RunCommand, last_line
from alwatch.errors import ActionError
from tests.actions.helpers import EVIDENCE, KEY, program, run, wait_for


def deliver(tmp_path: Path, script: str, *arguments: str, nice: int = 0) -> str:
    command = [str(program(tmp_path / "program", script)), *arguments]
    return RunCommand(command=command, nice=nice).deliver(KEY, EVIDENCE, tmp_path)


def test_the_evidence_is_on_standard_input_and_the_last_line_is_the_outcome(tmp_path: Path) -> None:
    assert deliver(tmp_path, "cat > seen; echo first; echo; echo 'job 7'; echo") == "job 7"
    assert json.loads((tmp_path / "seen").read_bytes()) == EVIDENCE


def test_no_shell_reads_the_arguments(tmp_path: Path) -> None:
    assert deliver(tmp_path, 'echo "$# $1"', "a b; touch x", "$HOME") == "2 a b; touch x"


def test_a_program_knows_the_key(tmp_path: Path) -> None:
    assert deliver(tmp_path, "echo $ALWATCH_KEY") == KEY


def test_a_program_that_says_nothing_has_an_outcome(tmp_path: Path) -> None:
    assert deliver(tmp_path, ":") == f"{tmp_path}/program ended with exit status 0"


def test_evidence_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    long = EVIDENCE | {"frames": [["video.mp4", frame] for frame in range(50_000)]}
    command = [str(program(tmp_path / "program", "echo done"))]
    assert RunCommand(command=command).deliver(KEY, long, tmp_path) == "done"


def test_75_asks_for_another_attempt_that_is_not_counted(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r"\(exit status 75|exit status 75: GPU busy") as caught:
        deliver(tmp_path, "echo GPU busy; exit 75")
    assert (caught.value.again, caught.value.counts) == (True, False)


@pytest.mark.parametrize(
    ("script", "how"),
    [("echo no model >&2; exit 3", "exit status 3: no model"), ("kill -9 $$", "killed by SIGKILL")],
)
def test_any_other_end_is_a_failed_attempt(tmp_path: Path, script: str, how: str) -> None:
    with pytest.raises(ActionError, match=how) as caught:
        deliver(tmp_path, script)
    assert (caught.value.again, caught.value.counts) == (True, True)


@pytest.mark.parametrize("name", ["absent", "unexecutable"])
def test_what_cannot_be_run_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "unexecutable").write_text("#!/bin/sh\n")
    with pytest.raises(ActionError, match=f"{name} cannot be run"):
        RunCommand(command=[str(tmp_path / name)]).deliver(KEY, EVIDENCE, tmp_path)


def test_a_flood_of_output_is_read_and_only_its_end_is_kept(tmp_path: Path) -> None:
    flood = "import sys\nfor _ in range(2000): print('x' * 4000)\nprint('the end')"
    action = RunCommand(command=[sys.executable, "-c", flood])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert action.deliver(KEY, EVIDENCE, tmp_path) == "the end"
    assert (tmp_path / "output.txt").stat().st_size <= 2**16
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4000  # KiB of 8 MB


def test_a_program_in_the_background_does_not_hold_up_the_outcome(tmp_path: Path) -> None:
    assert deliver(tmp_path, "sleep 60 & echo $! > pid; echo started") == "started"
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_it_stands_back_leaves_no_core_and_no_open_file(tmp_path: Path) -> None:
    own = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(own, True)
    before = os.nice(0)
    outcome = deliver(tmp_path, "echo $(nice) $(ulimit -c) $(ls /proc/self/fd | wc -l)", nice=3)
    os.close(own)
    nice, core, files = outcome.split()
    assert (int(nice), core) == (before + 3, "0")
    assert int(files) <= 5  # the three, the folder that ls reads, and the pipe of the shell


def test_a_program_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    script = program(tmp_path / "program", "(trap '' TERM; sleep 60; echo late > late) &\nsleep 60")
    end = run("command", {"command": [str(script)]}, tmp_path / "work", timeout_s=1)
    assert not end.delivered
    assert end.outcome == "it was ended after 1 s (timeout_s)"
    assert (end.again, end.counts) == (True, True)
    wait_for(lambda: not _running_in(tmp_path / "work"), timeout_s=5)


def _running_in(folder: Path) -> list[str]:
    """Processes whose working folder this is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(folder):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_a_line_that_is_no_text_is_shown_as_such() -> None:
    assert last_line(b"ok\n\xff\x1b[2J\n\n") == "�\\x1b[2J"
