"""`do: slurm`: a batch job of a cluster, submitted once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alwatch.actions.command import last_line
from alwatch.actions.disk import as_json, write_whole
from alwatch.errors import ActionError, shown


class SubmitJob:
    """Submits a batch script by `sbatch`; `$ALWATCH_EVIDENCE` names the file of evidence.

    The key is the name of the job, and the job's number is kept in `workdir`, so that a repeat
    finds the job that is there instead of submitting another.

    Parameters
    ----------
    command : sequence of str
        The batch script and its arguments, as `sbatch` takes them.
    """

    def __init__(self, *, command: Sequence[str]) -> None:
        self._command = list(command)

    def deliver(self, key: str, evidence: dict[str, Any], workdir: Path) -> str:
        """Submit it, unless it is submitted.

        Raises
        ------
        ActionError
            Slurm cannot be asked, or does not take the job.
        """
        kept = workdir / "job"
        if kept.is_file():
            return f"job {kept.read_text().strip()} was submitted before"
        # A run that was killed after it had submitted has kept no number: the queue knows it.
        found = _ask(["squeue", "--noheader", f"--name={key}", "--format=%i"], workdir).split()
        if found:
            write_whole(kept, found[0].encode())
            return f"job {shown(found[0])} was submitted before"
        file = workdir / "evidence.json"
        write_whole(file, as_json(evidence))
        asked = ["sbatch", "--parsable", f"--job-name={key}", *self._command]
        job = _ask(asked, workdir, ALWATCH_EVIDENCE=str(file), ALWATCH_KEY=key)
        number = job.strip().partition(";")[0]  # the cluster's name may follow
        write_whole(kept, number.encode())
        return f"submitted as job {shown(number)}"


def _ask(command: list[str], workdir: Path, **environ: str) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=workdir,
            env=os.environ | environ,
            check=False,
        )
    except OSError as error:
        raise ActionError(
            f"{command[0]} cannot be run: {error.strerror}; install Slurm's commands where alwatch "
            "finds them (PATH)."
        ) from error
    if done.returncode:
        raise ActionError(
            f"{command[0]} ended with exit status {done.returncode}: {last_line(done.stderr)}"
        )
    return done.stdout.decode("utf-8", "replace")
