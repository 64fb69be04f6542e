"""How far a training is: kept by the program that trains, read by whoever asks."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from alwatch.actions.durable import read_json, write_json

_UTC = timezone.utc  # noqa: UP017 (DeepLabCut's Python may be 3.10)
_FILE = "progress.json"


def progress_of(workdir: Path) -> dict[str, Any] | None:
    """How far the training of a delivery is; None where nothing is known of one.

    Returns
    -------
    dict, optional
        `step` (preparing, training, evaluating, publishing or done), `epoch` (the last that is
        done), `epochs`, `loss`, `started_at`, `updated_at`, and `eta`, when the last epoch may be
        done: None before the first of this attempt is.
    """
    return read_json(workdir / _FILE)


def now_text() -> str:
    """The time of day, as these files have it."""
    return datetime.now(_UTC).isoformat(timespec="seconds")


class Progress:
    """Keeps how far a training is.

    Parameters
    ----------
    workdir : Path
    """

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._content: dict[str, Any] = {
            "step": "preparing",
            "epoch": 0,
            "epochs": None,
            "loss": None,
            "started_at": now_text(),
        }
        self._first = (0, time.monotonic())

    def note(self, step: str, **more: Any) -> None:
        """Keep that it has come to a step, and what else has changed."""
        if step != self._content["step"]:
            self._first = (more.get("epoch", 0), time.monotonic())
        self._content |= {"step": step, **more}
        times = {"updated_at": now_text(), "eta": self._eta() if step == "training" else None}
        write_json(self._workdir / _FILE, self._content | times)

    def _eta(self) -> str | None:
        first_epoch, began_s = self._first
        done = self._content["epoch"] - first_epoch
        if done <= 0:
            return None
        left = (self._content["epochs"] - self._content["epoch"]) / done
        end = datetime.now(_UTC) + timedelta(seconds=left * (time.monotonic() - began_s))
        return end.isoformat(timespec="seconds")
