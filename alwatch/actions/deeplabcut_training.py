"""The program that trains a DeepLabCut model and puts it into the lab's project.

It is run under the Python of the lab's DeepLabCut, as `alwatch.child.command_in` does, with the
delivery's folder as its only argument, and reads `job.json` there. Each of its steps leaves a file
that says it is done, so it may be killed at any moment and run again.

It trains in a copy of the project, from the current snapshot, with the current model's own
configuration. The last epoch is what counts: DeepLabCut's "best" is chosen by the frames that are
held out, which would be honest no more.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from alwatch.actions.deeplabcut_dataset import (
    SHUFFLE,
    copy_project,
    held_out_frames,
    read_yaml,
)
from alwatch.actions.deeplabcut_progress import Progress, now_text
from alwatch.actions.deeplabcut_publishing import publish, published
from alwatch.actions.deeplabcut_settings import (
    check_bodyparts,
    check_kind,
    for_running,
    model_settings,
)
from alwatch.actions.durable import read_json, write_json
from alwatch.errors import ActionError

_LOCK_S = 30.0
_OF_SNAPSHOT = 12
"""Free space that a training needs, in sizes of its first snapshot: with the optimiser's state,
three times as large, two kept and one written, and the copy for the project."""
_FULL_BYTES = 2**24
_MEMORY = re.compile("out of memory|DefaultCPUAllocator", re.IGNORECASE)


def main() -> None:
    """Train what `job.json` in the folder of the first argument asks for."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    workdir = Path(sys.argv[3])
    job = read_json(workdir / "job.json") or {}
    with suppress(PermissionError):
        os.nice(job["nice"])
    try:
        with open(workdir / "training.lock", "w") as lock:
            _wait_for(lock.fileno())
            _Training(workdir, job).run()
    except ModuleNotFoundError:
        raise  # as where this file itself cannot be imported
    except Exception as error:
        traceback.print_exc()
        with suppress(OSError):  # the disk may be full
            write_json(workdir / "error.json", explained(error, workdir))
        os._exit(1)


def _end_with_input() -> None:
    """End, with all that was started here, when whoever started this has ended."""
    while os.read(0, 4096):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _wait_for(lock: int) -> None:
    """Take the lock: what was started before, and has lost its parent, is about to end."""
    give_up_s = time.monotonic() + _LOCK_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_s:
                raise ActionError("another process trains for the same delivery") from None
            time.sleep(0.1)


def explained(error: Exception, workdir: Path) -> dict[str, Any]:
    """What went wrong, in one line; `memory` says that a smaller batch may help."""
    if isinstance(error, ActionError):
        return {"message": str(error), "again": error.again}
    text = " ".join(str(error).split())[:300]
    full = getattr(error, "errno", None) == errno.ENOSPC
    if full or shutil.disk_usage(workdir).free < _FULL_BYTES:
        return {"message": f"the disk of {workdir} is full ({text}); make room", "again": True}
    is_memory = isinstance(error, MemoryError) or _MEMORY.search(text) is not None
    what = f"memory ran out ({text})" if is_memory else f"{type(error).__name__}: {text}"
    return {"message": what, "again": True, "memory": is_memory}


class _Training:
    """One training, as far as it has come in its folder."""

    def __init__(self, workdir: Path, job: dict[str, Any]) -> None:
        self._workdir = workdir
        self._job = job
        self._config = workdir / "project" / "config.yaml"
        self._base = Path(job["snapshot"]).parent.parent  # the model that it goes on from
        self._progress = Progress(workdir)

    def run(self) -> None:
        """Do every step that is not done yet."""
        result = published(Path(self._job["project"]), self._job["key"]) or self._work()
        write_json(self._workdir / "result.json", result)
        done = result["epochs"]
        self._progress.note("done", epoch=done, epochs=done, started_at=result["started_at"])
        shutil.rmtree(self._config.parent, ignore_errors=True)
        for name in ("start.pt", "trained.pt"):
            (self._workdir / name).unlink(missing_ok=True)

    def _work(self) -> dict[str, Any]:
        self._progress.note("preparing")
        plan = read_json(self._workdir / "plan.json") or self._prepare()
        known = {"epochs": plan["epochs"], "started_at": plan["started_at"]}
        trained = self._workdir / "trained.pt"
        if not trained.is_file():
            self._train(plan, known, trained)
        known["epoch"] = plan["epochs"]
        error_px = read_json(self._workdir / "errors.json")
        if error_px is None:
            self._progress.note("evaluating", **known)
            error_px = self._evaluate(plan, trained)
            write_json(self._workdir / "errors.json", error_px)
        self._progress.note("publishing", **known)
        result = {
            "key": self._job["key"],
            "base_shuffle": self._job["shuffle"],
            "base_snapshot": self._job["snapshot"],
            "held_out": plan["held_out"],
            "split_by": plan["split_by"],
            "frames": {"train": plan["n_train"], "test": len(plan["held_out"])},
            "epochs": plan["epochs"],
            "error_px": error_px,
            "versions": {name: version(name) for name in ("deeplabcut", "torch")},
            "started_at": plan["started_at"],
            "ended_at": now_text(),
        }
        project, settings = Path(self._job["project"]), self._settings(plan)
        return publish(project, self._config, self._base, trained, settings, result)

    # --- a: what is trained on -------------------------------------------------------------

    def _prepare(self) -> dict[str, Any]:
        own = read_yaml(self._base / "train" / "pytorch_config.yaml")
        check_kind(own)
        copy = self._config.parent
        shutil.rmtree(copy, ignore_errors=True)
        held_out = [(folder, frame) for folder, frame in self._job["held_out"]]
        split = copy_project(Path(self._job["project"]), held_out, self._job["key"], copy)
        new = read_yaml(self._train_folder() / "pytorch_config.yaml")
        check_bodyparts(new, own, self._base.name)
        plan = {
            "epochs": self._job["epochs"] or own["train_settings"]["epochs"],
            "held_out": held_out_frames(self._config, split),
            "split_by": split.by,
            "n_train": len(split.train),
            "started_at": now_text(),
        }
        write_json(self._workdir / "plan.json", plan)
        return plan

    def _train_folder(self) -> Path:
        (folder,) = self._config.parent.glob("dlc-models-pytorch/iteration-*/*/train")
        return folder

    # --- b: the training -------------------------------------------------------------------

    def _settings(self, plan: dict[str, Any]) -> dict[str, Any]:
        own = read_yaml(self._base / "train" / "pytorch_config.yaml")
        return model_settings(
            own, epochs=plan["epochs"], halved=self._job["halved"], seed=self._job["key"]
        )

    def _train(self, plan: dict[str, Any], known: dict[str, Any], trained: Path) -> None:
        import torch
        from deeplabcut import train_network

        folder = self._train_folder()
        self._check_space()
        done, start = self._latest(folder)
        self._progress.note("training", epoch=done, **known)
        if done < plan["epochs"]:
            self._configure(plan, folder, done)
            _after_each_epoch(
                lambda epoch, loss: self._progress.note("training", epoch=epoch, loss=loss)
            )
            train_network(
                str(self._config), shuffle=SHUFFLE, trainingsetindex=0, snapshot_path=str(start),
                epochs=plan["epochs"] - done, device=self._job["device"],
            )  # fmt: skip
            done, start = self._latest(folder)
        content = torch.load(start, map_location="cpu", weights_only=True)
        content.pop("optimizer", None)
        if not all(torch.isfinite(t).all() for t in content["model"].values()):
            raise ActionError("the weights became infinite while it was trained", again=False)
        new = trained.with_suffix(".new")
        torch.save(content, new)
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(trained)

    def _configure(self, plan: dict[str, Any], folder: Path, done: int) -> None:
        """Write DeepLabCut's configuration for the epochs that are left."""
        settings = for_running(
            self._settings(plan), folder / "pytorch_config.yaml", self._config.parent, done=done
        )
        if self._job["device"] != "auto":
            settings["runner"]["gpus"] = None
        text = yaml.safe_dump(settings, sort_keys=False)
        (folder / "pytorch_config.yaml").write_text(text, encoding="utf-8")

    def _latest(self, folder: Path) -> tuple[int, Path]:
        """Epochs done and the snapshot to go on from; one that a kill has torn is removed."""
        import torch

        for path in sorted(folder.glob("snapshot-*.pt"), key=_epochs_of, reverse=True):
            try:
                torch.load(path, map_location="cpu", weights_only=True)
            except Exception:  # whatever half a file is taken for
                path.unlink()
            else:
                return _epochs_of(path), path
        start = self._workdir / "start.pt"
        weights = torch.load(self._job["snapshot"], map_location="cpu", weights_only=True)["model"]
        torch.save({"model": weights, "metadata": {"epoch": 0}}, start)
        return 0, start

    def _check_space(self) -> None:
        needed = _OF_SNAPSHOT * Path(self._job["snapshot"]).stat().st_size
        held = sum(p.stat().st_size for p in self._train_folder().glob("*.pt"))
        free = shutil.disk_usage(self._workdir).free
        if free + held < needed:
            raise ActionError(
                f"the training needs {needed / 1e6:.0f} MB in {self._workdir}, and "
                f"{free / 1e6:.0f} MB are free; make room"
            )

    # --- c: what it is worth ---------------------------------------------------------------

    def _evaluate(self, plan: dict[str, Any], trained: Path) -> dict[str, Any]:
        """Mean error on the frames that were trained on and those held out, before and after."""
        import pandas as pd
        from deeplabcut import evaluate_network

        folder = self._train_folder()
        for path in folder.glob("snapshot-*.pt"):
            path.unlink()
        _, start = self._latest(folder)
        names = {"before": "snapshot-000", "after": f"snapshot-{plan['epochs']:03}"}
        shutil.copy(start, folder / "snapshot-000.pt")
        shutil.copy(trained, folder / f"{names['after']}.pt")
        device = self._job["device"]
        evaluate_network(
            str(self._config), shuffles=[SHUFFLE], trainingsetindex=0,
            snapshots_to_evaluate=list(names.values()), device=None if device == "auto" else device,
        )  # fmt: skip
        (file,) = self._config.parent.glob("evaluation-results*/*/CombinedEvaluation-results.csv")
        rows = pd.read_csv(file).set_index("Training epochs")
        epochs = {"before": 0, "after": plan["epochs"]}
        return {
            part: {when: _known(rows.loc[epoch, f"{part} rmse"]) for when, epoch in epochs.items()}
            for part in ("train", "test")
        }


def _after_each_epoch(tell: Callable[[int, float | None], None]) -> None:
    """Have every epoch told, once its snapshot is on the disk."""
    from deeplabcut.pose_estimation_pytorch.runners.snapshots import TorchSnapshotManager

    update = TorchSnapshotManager.update

    def update_and_tell(
        self: Any, epoch: int, state_dict: dict[str, Any], last: bool = False
    ) -> None:
        update(self, epoch, state_dict, last)
        losses = state_dict["metadata"].get("losses") or {}
        tell(epoch, _known(losses.get("train.total_loss")))

    TorchSnapshotManager.update = update_and_tell


def _known(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _epochs_of(snapshot: Path) -> int:
    return int(snapshot.stem.rpartition("-")[2])


if __name__ == "__main__":
    main()
