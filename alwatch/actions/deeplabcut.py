"""`do: deeplabcut`: trains the project of `pose_model` with the labels that it has by now.

The training itself is a program of its own (`deeplabcut_training`), under the Python of the lab's
DeepLabCut. It may take days; whatever is killed meanwhile, the next attempt goes on from the last
epoch that was kept.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from alwatch.actions.durable import read_json, write_json
from alwatch.child import command_in
from alwatch.errors import ActionError, PoseModelError, SettingsError, shown
from alwatch.pose_models.deeplabcut_project import DeepLabCutSource

_PROGRAM = "alwatch.actions.deeplabcut_training"
_LOG_BYTES = 8192
_SHOWN_CHARACTERS = 300
_FULL_BYTES = 2**24
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "DLClight": "True",  # no windows
    "MPLBACKEND": "Agg",
    # Nothing is downloaded, or told to anybody.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "WANDB_MODE": "disabled",
}


class DeepLabCutTraining:
    """Trains a DeepLabCut 3 project (PyTorch engine, bottom-up) further, from its current snapshot.

    The new model gets a shuffle of its own; the current one's files are not touched. Held out are
    the frames that the evidence names and, drawn by the key, whole videos, until about
    1 - `TrainingFraction` of the labelled frames are.

    Parameters
    ----------
    project : path
        The project's config.yaml.
    python : path, optional
        The interpreter that has DeepLabCut; by default this one.
    shuffle : int
        The shuffle of `pose_model`, of which the new one is to be a later version.
    epochs : int, optional
        By default as many as the current model's configuration says.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    nice : int
        How far it stands back behind other programs.
    """

    def __init__(
        self,
        *,
        project: str | Path,
        python: str | Path | None = None,
        shuffle: int = 1,
        epochs: int | None = None,
        device: str = "auto",
        nice: int = 10,
    ) -> None:
        self._project = Path(project)
        self._python = Path(python or sys.executable)
        self._shuffle = shuffle
        self._epochs = epochs
        self._device = device
        self._nice = nice

    def deliver(self, key: str, evidence: dict[str, Any], workdir: Path) -> str:
        """Train, or go on training, to the end.

        Parameters
        ----------
        key : str
        evidence : dict
            Of it: `snapshot`, whose `file` is the one to go on from (by default the project's
            own); `held_out`, frames by tool, project, folder of labeled-data and index, of which
            those of this project count.
        workdir : Path
            `result.json` is what came of it, `progress.json` how far it is, `training.log` all
            that DeepLabCut said.

        Raises
        ------
        ActionError
            It could not be trained.
        """
        result = read_json(workdir / "result.json")
        if result is None:
            self._check()
            job = self._job(key, evidence)
            try:
                self._train(job, workdir)
            except OSError as error:
                cause = f"{workdir} cannot be written: {error.strerror}; make room there"
                raise self._error(cause) from error
            result = read_json(workdir / "result.json")
        if result is None or result.get("key") != key:
            raise self._error(f"{workdir / 'result.json'} is not of this delivery", again=False)
        return _outcome(self._project, result)

    def _check(self) -> None:
        """Refuse what would fail in the end anyway."""
        if not (self._python.is_file() and os.access(self._python, os.X_OK)):
            raise self._error(
                f"pose_model.python is {self._python}, which is not a program that can be run; "
                "name the Python of the environment that holds DeepLabCut",
                again=False,
            )
        if not self._project.is_file():
            raise self._error("it is not there; bring it back, or correct pose_model.project")
        root = self._project.parent
        for folder in (root, root / "dlc-models-pytorch", root / "training-datasets"):
            if folder.is_dir() and not os.access(folder, os.W_OK):
                raise self._error(f"{folder} is not writable for this user; let alwatch write it")

    def _job(self, key: str, evidence: dict[str, Any]) -> dict[str, Any]:
        try:
            given = (evidence.get("snapshot") or {}).get("file")
            held_out = [
                [str(each["folder"]), int(each["frame"])]
                for each in evidence.get("held_out") or ()
                if each["tool"] == "deeplabcut" and self._is_project(each["project"])
            ]
        except (AttributeError, TypeError, ValueError, LookupError):
            raise self._error(
                "the evidence's snapshot must have a file, and its held_out be a list of frames "
                "with tool, project, folder and frame",
                again=False,
            ) from None
        return {
            "key": key,
            "project": str(self._project),
            "snapshot": str(self._snapshot(given)),
            "shuffle": self._shuffle,
            "held_out": held_out,
            "epochs": self._epochs,
            "device": self._device,
            "nice": self._nice,
        }

    def _is_project(self, path: str) -> bool:
        return os.path.realpath(path) == os.path.realpath(self._project)

    def _snapshot(self, given: str | None) -> Path:
        """The snapshot to go on from."""
        if given is None:
            source = DeepLabCutSource(self._project, shuffle=self._shuffle, snapshot="best")
            try:
                return Path(source.find().model["snapshots"][0])
            except (SettingsError, PoseModelError) as error:
                again = isinstance(error, PoseModelError)
                raise self._error(str(error).rstrip("."), again=again) from None
        snapshot = Path(given)
        models = self._project.parent.resolve() / "dlc-models-pytorch"
        if not snapshot.resolve().is_relative_to(models):
            raise self._error(f"the current snapshot, {given}, is not in this project", again=False)
        if not snapshot.is_file():
            raise self._error(f"the current snapshot, {given}, is not there; bring it back")
        return snapshot

    # --- the program -----------------------------------------------------------------------

    def _train(self, job: dict[str, Any], workdir: Path) -> None:
        """Run the program to its end; where memory does not suffice, once more with half of it."""
        halved = bool((read_json(workdir / "job.json") or {}).get("halved"))
        write_json(workdir / "job.json", job | {"halved": halved})
        failure = self._run(workdir)
        if failure and failure.get("memory") and not halved:
            write_json(workdir / "job.json", job | {"halved": True})
            failure = self._run(workdir)
        if failure:
            cause = f"{failure['message']}. Its log is {workdir / 'training.log'}"
            raise self._error(cause, again=failure["again"])

    def _run(self, workdir: Path) -> dict[str, Any] | None:
        """What went wrong, if anything."""
        (workdir / "error.json").unlink(missing_ok=True)
        environment = os.environ | _ENVIRONMENT
        if self._device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        with open(workdir / "training.log", "ab") as log:
            try:
                process = subprocess.Popen(
                    command_in(self._python, _PROGRAM, str(workdir)),
                    stdin=subprocess.PIPE,  # it ends with this, too
                    stdout=log,
                    stderr=log,
                    cwd=workdir,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=_limits(),
                )
            except OSError as error:
                message = f"{self._python} cannot be run: {error.strerror}"
                return {"message": message, "again": False}
            with process:
                try:  # until it is reaped its number is no other process's
                    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
                finally:
                    os.killpg(process.pid, signal.SIGKILL)  # its helpers, too
                code = process.wait()
        if code == 0 and (workdir / "result.json").is_file():
            return None
        return read_json(workdir / "error.json") or self._death(code, workdir)

    def _death(self, code: int, workdir: Path) -> dict[str, Any]:
        """Explain the end of a program that did not explain it itself."""
        words = last_words(workdir / "training.log")
        lacking = re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", words)
        if lacking:
            message = (
                f"{self._python} has no package {lacking[1]}; install DeepLabCut 3 there, or set "
                "pose_model.python to an interpreter that has it"
            )
            return {"message": message, "again": False}
        if shutil.disk_usage(workdir).free < _FULL_BYTES:  # then nor are its last words complete
            return {"message": f"the disk of {workdir} is full; make room", "again": True}
        how = f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        message = f"its program ended ({how}){words and f': {words}'}"
        if code == -signal.SIGKILL:
            message += "; as a rule the system does that because memory ran out"
        return {"message": message, "again": True}

    def _error(self, cause: str, *, again: bool = True) -> ActionError:
        return ActionError(
            f"{shown(self._project)} was to be trained: {shown(cause)}.", again=again
        )


def _limits() -> Callable[[], None]:
    libc = ctypes.CDLL(None)

    def set_limits() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return set_limits


def last_words(log: Path) -> str:
    """The last line of a log that says anything."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
        lines = file.read().decode("utf-8", "replace").split("\n")
        return shown(
            next((x.strip() for x in reversed(lines) if x.strip()), "")[-_SHOWN_CHARACTERS:]
        )
    return ""


def _outcome(project: Path, result: dict[str, Any]) -> str:
    error_px = {
        when: "unknown" if value is None else f"{value:.1f} px"
        for when, value in result["error_px"]["test"].items()
    }
    return (
        f"{result['snapshot']['name']} of shuffle {result['shuffle']} of {shown(project)} is "
        f"trained; on {result['frames']['test']} frames held out its error is "
        f"{error_px['after']} (before: {error_px['before']})"
    )
