"""The threads that scan the archive: one for each root, woken by the clock or by an alarm."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from alwatch.errors import shown
from alwatch.records import RootScan
from alwatch.watch.roots import WatchedRoot, file_system_kind
from alwatch.watch.scan import folder_identity, scan_root

if TYPE_CHECKING:
    from alwatch.watch.alarm import Alarm

_OFFLINE_SCAN_S = 60.0
_RETRY_ALARM_S = 3600.0
_STOP_S = 1.0
_PUT_S = 0.2


@dataclass(frozen=True, slots=True)
class RootStatus:
    """How the watching of one root goes.

    Parameters
    ----------
    mode : {"inotify", "poll"}
        What brings the next scan: file events and the clock, or the clock alone.
    degraded : str or None
        Why there are no file events although there should be, and the remedy.
    online : bool or None
        As of the latest scan; None before the first one has ended.
    problem : str or None
        What the latest scan had to say.
    last_scan_age_s : float or None
        Seconds since the latest scan ended.
    scanning_s : float or None
        Seconds since the scan that is running now began: many of them mean a drive that hangs.
    running : bool
        False before `start`, after `stop`, and where the thread died of a defect.
    """

    root: Path
    mode: Literal["inotify", "poll"]
    degraded: str | None
    online: bool | None
    problem: str | None
    last_scan_age_s: float | None
    scanning_s: float | None
    running: bool


class ArchiveWatcher:
    """Scans every root again and again, and puts each `RootScan` into a queue.

    Every root has a thread of its own, so a drive that hangs holds up nothing but itself. A root
    is scanned at the start, when `scan_s` has passed since the last scan, soon after file events,
    and when `rescan_at` asks for it; never twice within `min_gap_s`, and never for more than half
    of the time. Where no file events are to be had, the root is polled.

    Parameters
    ----------
    roots : iterable of WatchedRoot
    scans : queue.Queue
        Where the scans go. With a bound, a slow reader slows the scanning instead of letting
        scans pile up.
    clock : callable
        Monotonic seconds.
    min_gap_s : float
        Least time from the end of a scan to the start of the next one of the same root.

    Raises
    ------
    ValueError
        If two roots have the same path.
    """

    def __init__(
        self,
        roots: Iterable[WatchedRoot],
        scans: queue.Queue[RootScan],
        *,
        clock: Callable[[], float] = time.monotonic,
        min_gap_s: float = 1.0,
    ) -> None:
        self._threads: dict[Path, _RootThread] = {}
        for root in roots:
            if root.path in self._threads:
                raise ValueError(f"archive root {root.path} is listed twice; list it once")
            self._threads[root.path] = _RootThread(root, scans, clock, min_gap_s)

    def start(self) -> None:
        """Start scanning. A watcher is started once."""
        for thread in self._threads.values():
            thread.start()

    def stop(self) -> None:
        """End the scanning; return within about a second, even where a drive hangs.

        Nothing is put into the queue afterwards.
        """
        for thread in self._threads.values():
            thread.ask_to_stop()
        deadline = time.monotonic() + _STOP_S
        for thread in self._threads.values():
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def rescan_at(self, root: Path, when_s: float) -> None:
        """Scan a root no later than at this time of the clock, or as soon after as it may be.

        Raises
        ------
        KeyError
            If `root` is not watched.
        """
        self._threads[root].rescan_at(when_s)

    def status(self) -> list[RootStatus]:
        """How it goes now, root by root. Never waits for a drive."""
        return [thread.status() for thread in self._threads.values()]


class _RootThread(threading.Thread):
    """Scans one root. Public methods are for other threads, the rest run in this one."""

    def __init__(
        self,
        root: WatchedRoot,
        scans: queue.Queue[RootScan],
        clock: Callable[[], float],
        min_gap_s: float,
    ) -> None:
        super().__init__(name=f"scan {shown(root.path)}", daemon=True)
        self._root = root
        self._scans = scans
        self._clock = clock
        self._min_gap_s = min_gap_s
        self._changed = threading.Condition()  # guards the next six
        self._asked_to_stop = False
        self._wanted_s = math.inf
        self._scanning_since_s: float | None = None
        self._last: RootScan | None = None
        self._degraded: str | None = None
        self._alarm: Alarm | None = None
        # Of this thread alone:
        self._alarm_folder: tuple[int, int] | None = None
        self._retry_alarm_s = -math.inf

    def ask_to_stop(self) -> None:
        with self._changed:
            self._asked_to_stop = True
            self._changed.notify_all()

    def rescan_at(self, when_s: float) -> None:
        with self._changed:
            if when_s < self._wanted_s:
                self._wanted_s = when_s
                self._changed.notify_all()

    def status(self) -> RootStatus:
        with self._changed:
            now_s, last, since_s = self._clock(), self._last, self._scanning_since_s
            return RootStatus(
                root=self._root.path,
                mode="poll" if self._alarm is None else "inotify",
                degraded=self._degraded,
                online=None if last is None else last.online,
                problem=None if last is None else last.problem,
                last_scan_age_s=None if last is None else now_s - last.finished_s,
                scanning_s=None if since_s is None else now_s - since_s,
                running=self.is_alive(),
            )

    def run(self) -> None:
        try:
            while self._wait_until_due():
                self._tend_alarm()
                scan = scan_root(self._root, clock=self._clock)
                self._publish(scan)
        finally:
            self._drop_alarm()

    def _wait_until_due(self) -> bool:
        """Sleep until the next scan; False to end instead."""
        with self._changed:
            while not self._asked_to_stop:
                now_s = self._clock()
                wait_s = self._due_s() - now_s
                if wait_s <= 0:
                    if self._wanted_s <= now_s:
                        self._wanted_s = math.inf
                    self._scanning_since_s = now_s
                    return True
                self._changed.wait(min(wait_s, threading.TIMEOUT_MAX))
            return False

    def _due_s(self) -> float:
        if self._last is None:
            return -math.inf
        interval_s = self._root.scan_interval_s(events=self._alarm is not None)
        if not self._last.online:
            interval_s = min(interval_s, _OFFLINE_SCAN_S)
        ended_s = self._last.finished_s
        gap_s = max(self._min_gap_s, ended_s - self._last.started_s)
        return max(ended_s + gap_s, min(ended_s + interval_s, self._wanted_s))

    def _publish(self, scan: RootScan) -> None:
        with self._changed:
            self._last = scan
            self._scanning_since_s = None
        while not self._asked_to_stop:
            try:
                self._scans.put(scan, timeout=_PUT_S)
            except queue.Full:
                continue
            return

    # --- the alarm, without which all still works, only later ----------------------------------

    def _tend_alarm(self) -> None:
        """Have an alarm where there should be one, on the folder that is there now."""
        try:
            folder = folder_identity(self._root.path)
        except OSError:
            folder = None
        if folder is None or folder != self._alarm_folder:
            # What was wrong with the alarm on another folder says nothing about this one.
            self._drop_alarm()
            self._retry_alarm_s = -math.inf
        self._alarm_folder = folder
        if folder is None:
            return
        try:
            if self._alarm is not None:
                self._alarm.check()
            elif self._clock() >= self._retry_alarm_s:
                self._start_alarm()
        except (OSError, RuntimeError) as error:
            self._drop_alarm(error)
            self._retry_alarm_s = self._clock() + _RETRY_ALARM_S

    def _start_alarm(self) -> None:
        if not self._root.wants_events(file_system_kind(self._root.path)):
            return
        from alwatch.watch.alarm import Alarm

        alarm = Alarm(self._root, lambda: self.rescan_at(self._clock()))
        with self._changed:
            self._alarm, self._degraded = alarm, None

    def _drop_alarm(self, reason: OSError | RuntimeError | None = None) -> None:
        degraded = None if reason is None else self._explain(reason)
        with self._changed:
            alarm, self._alarm, self._degraded = self._alarm, None, degraded
        if alarm is not None:
            alarm.stop()

    def _explain(self, reason: OSError | RuntimeError) -> str:
        from alwatch.watch.alarm import alarm_remedy

        every_s = self._root.scan_interval_s(events=False)
        return (
            f"archive root {shown(self._root.path)} has no file events and is scanned every "
            f"{every_s:g} s instead: {alarm_remedy(reason)}"
        )
