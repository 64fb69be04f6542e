"""How long work shows itself: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from alwatch.errors import shown

if TYPE_CHECKING:
    from rich.progress import Progress

    from alwatch.records import Outcome
    from alwatch.service import Reporter


@contextmanager
def reporter(stream: TextIO) -> Iterator[Reporter]:
    """Report the progress of a backfill on `stream`."""
    if not stream.isatty():
        yield _Lines(stream)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}", markup=False),
    )
    with Progress(*columns, console=Console(file=stream)) as progress:
        yield _Bar(progress)


class _Lines:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._total = self._ended = 0

    def begin(self, total: int) -> None:
        self._total = total

    def video(self, path: Path) -> None:
        pass

    def frames(self, n: int) -> None:
        pass

    def end(self, outcome: Outcome) -> None:
        self._ended += 1
        result = f"{outcome.n_frames} frames" if outcome.n_frames else outcome.reason
        print(
            f"{self._ended}/{self._total} {outcome.state}  {shown(outcome.path)}: {result}",
            file=self._stream,
        )


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", now="", total=None)
        self._name = ""
        self._n_frames = 0

    def begin(self, total: int) -> None:
        self._progress.update(self._task, total=total)

    def video(self, path: Path) -> None:
        self._name, self._n_frames = shown(path.name), 0
        self._progress.update(self._task, now=self._name)

    def frames(self, n: int) -> None:
        self._n_frames += n
        self._progress.update(self._task, now=f"{self._name}: {self._n_frames} frames")

    def end(self, outcome: Outcome) -> None:
        self._progress.advance(self._task)
        if outcome.state != "done":
            self._progress.console.print(
                f"{outcome.state}: {shown(outcome.path)}: {outcome.reason}", markup=False
            )
