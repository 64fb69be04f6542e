"""How long checks and backups of a large database take: `python -m tests.bench.bench_backup`.

Each check runs with the file in memory, and with the file not there yet.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from alwatch.records import EmbedderIdentity
from alwatch.store import Store, database_in
from alwatch.store.backing_up import write_backup
from alwatch.store.damage import quick_fault
from alwatch.store.integrity import faults_of
from tests.store.helpers import NOW, ingested, seen

N_FRAMES, DIM, N_BODYPARTS = 1000, 384, 10


def fill(state_dir: Path, size_bytes: int) -> int:
    """Write videos with their vectors and scores until the file is so large; how many there are."""
    rng = np.random.default_rng(0)
    embedder = EmbedderIdentity("bench", "recipe-1", DIM)
    vectors = rng.normal(size=(N_FRAMES, DIM)).astype(np.float16)
    scores = rng.random((N_FRAMES, N_BODYPARTS, 1), np.float32)
    frames = np.arange(N_FRAMES)
    n_videos = 0
    with Store(state_dir, checkpoints=True) as store:
        with store._connection.write() as db:
            db.execute(
                "INSERT INTO snapshots (id, kind, name, sha256, bodyparts, n_individuals, "
                "n_unique, first_seen_at) VALUES (1, 'k', 'n', 's', '[]', 1, 0, '2026')"
            )
        while database_in(state_dir).stat().st_size < size_bytes:
            n_videos += 1
            store.videos.link(seen(f"{n_videos}.mp4", inode=n_videos), str(n_videos), NOW)
            claim = store.videos.claim(NOW)
            assert claim is not None
            result = ingested(frames.tolist(), embedder=embedder, vectors=vectors)
            store.videos.finish(claim.video_id, result, "s", NOW)
            with store._connection.write() as db:
                db.execute(
                    "INSERT INTO scorings VALUES (?, 1, 'done', 0, NULL, ?, 1.0, ?, '2026')",
                    [claim.video_id, N_FRAMES, frames.astype("<i8").tobytes()],
                )
                for signal in ("mpe", "mpe_softmax", "confidence"):
                    db.execute(
                        "INSERT INTO scores VALUES (?, 1, ?, ?, ?)",
                        [claim.video_id, signal, json.dumps(scores.shape), scores.tobytes()],
                    )
    return n_videos


def forget(file: Path) -> None:
    """Let the system's memory forget a file."""
    with open(file, "rb") as handle:
        os.fsync(handle.fileno())
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(what: str, database: Path, work: Callable[[], object]) -> None:
    """Print how long something takes, without and with a cold disk; the better of two warm runs."""
    seconds = []
    for is_cold in (False, False, True):
        if is_cold:
            forget(database)
        start_s = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start_s)
    print(f"{what:52} {min(seconds[:2]):6.2f} s   cold {seconds[2]:6.2f} s", flush=True)


def by_sqlite(database: Path, check: str) -> Callable[[], object]:
    def work() -> None:
        with closing(sqlite3.connect(database)) as db:
            assert db.execute(check).fetchall() == [("ok",)]

    return work


def before_the_first_write(database: Path) -> Callable[[], object]:
    def work() -> None:
        with closing(sqlite3.connect(database)) as db:
            assert quick_fault(db) is None

    return work


def back_up_while_writing(state_dir: Path) -> None:
    """Time a backup, and the longest that a writer, every 50 ms, has to wait meanwhile."""
    done, waits_s = threading.Event(), [0.0]

    def write() -> None:
        with Store(state_dir) as store:
            while not done.wait(0.05):
                start_s = time.perf_counter()
                store.snapshots.set_problem("x", NOW)
                waits_s.append(time.perf_counter() - start_s)

    writer = threading.Thread(target=write)
    for beside in (False, True):
        if beside:
            writer.start()
        start_s = time.perf_counter()
        write_backup(database_in(state_dir), state_dir / "copy.sqlite")
        took_s = time.perf_counter() - start_s
        print(f"backup, verified, {'beside a writer' if beside else 'alone':33} {took_s:6.2f} s")
    done.set()
    writer.join()
    print(f"longest write beside it, of {len(waits_s) - 1:<24} {max(waits_s):6.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gb", type=float, default=2.0)
    with tempfile.TemporaryDirectory() as folder:
        state_dir = Path(folder)
        n_videos = fill(state_dir, int(parser.parse_args().gb * 1e9))
        database = database_in(state_dir)
        print(f"{database.stat().st_size / 1e9:.2f} GB, {n_videos} videos of {N_FRAMES} frames")
        timed("before the first write", database, before_the_first_write(database))
        timed("PRAGMA quick_check", database, by_sqlite(database, "PRAGMA quick_check"))
        timed("PRAGMA integrity_check", database, by_sqlite(database, "PRAGMA integrity_check"))
        timed("verify", database, lambda: list(faults_of(database, backups=state_dir)))
        back_up_while_writing(state_dir)


if __name__ == "__main__":
    main()
