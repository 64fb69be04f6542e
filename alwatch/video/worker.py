"""The decoding child: serves the requests of one `VideoProcess` over stdin and stdout.

Run as `python -m alwatch.video.worker`. Each request is a line of JSON; each answer a line of
JSON with, after it, as many raw bytes as its `bytes` says. The child ends when stdin does.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av.logging
import numpy as np

from alwatch.errors import AlwatchError
from alwatch.records import DecoderPath, Frame, Timeline, VideoInfo
from alwatch.video.reader import FileReader
from alwatch.video.source import shown_path

_BEAT_S = 0.2
_NICENESS = 5


class Answers:
    """Writes answers to the parent."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._last_s = 0.0

    def send(self, kind: str, *payload: memoryview, **fields: object) -> None:
        """Write one answer and its raw bytes."""
        fields = {"kind": kind, "bytes": sum(p.nbytes for p in payload), **fields}
        self._out.write(json.dumps(fields).encode() + b"\n")
        for part in payload:
            self._out.write(part)
        self._out.flush()
        self._last_s = time.monotonic()

    def beat(self, position: int) -> None:
        """Say that work goes on, unless that was said a moment ago."""
        if time.monotonic() - self._last_s >= _BEAT_S:
            self.send("beat", position=position)


def main() -> None:
    """Serve requests until stdin ends."""
    out = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)  # nothing a library prints may get between the answers
    os.set_blocking(2, False)  # nor may a flood of its messages hold up decoding
    av.logging.restore_default_callback()  # to stderr: no Python lock is taken for it
    av.logging.set_libav_level(av.logging.ERROR)
    requests = _requests(sys.stdin.buffer)
    settings = next(requests)
    _restrict_self(settings["memory_bytes"])
    answers = Answers(out)
    try:
        _serve(settings, requests, answers)
    except BrokenPipeError:
        os._exit(0)  # the parent has gone; there is nobody to tell


def _requests(stdin: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield requests; a thread watches stdin, so that the parent's end is ours at any time."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        for line in stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield json.loads(lines.get())


def _restrict_self(memory_bytes: int) -> None:
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _serve(settings: dict[str, Any], requests: Iterator[dict[str, Any]], answers: Answers) -> None:
    path = Path(settings["path"])
    reader: FileReader | None = None
    for request in requests:
        try:
            if reader is None:
                reader = FileReader(
                    path,
                    fast_path=settings["fast_path"],
                    max_pixels=settings["max_pixels"],
                    beat=answers.beat,
                )
            if request["ask"] == "probe":
                _send_probe(answers, *reader.probe())
            else:
                size_px = tuple(request["size_px"]) if request["size_px"] else None
                indices = np.array(request["indices"], dtype=np.int64)
                for frame in reader.read(indices, size_px=size_px):
                    _send_frame(answers, frame, reader.path_used)
            answers.send("end")
        except BrokenPipeError:
            raise
        except MemoryError:
            answers.send("error", error="DecoderDiedError", message=_too_much(path, settings))
        except AlwatchError as error:
            answers.send("error", error=type(error).__name__, message=str(error))
        except Exception as error:  # whatever a hostile file makes a library raise
            what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            message = f"{shown_path(path)} cannot be decoded: {what}."
            answers.send("error", error="VideoError", message=message)


def _too_much(path: Path, settings: dict[str, Any]) -> str:
    return (
        f"{shown_path(path)} needs more memory to decode than the limit of "
        f"{settings['memory_bytes'] / 2**30:.2f} GiB."
    )


def _send_probe(answers: Answers, info: VideoInfo, timeline: Timeline) -> None:
    answers.send(
        "probe",
        timeline.pts.data,
        timeline.keyframe.data,
        info={
            "container": info.container,
            "codec": info.codec,
            "width_px": info.width_px,
            "height_px": info.height_px,
            "rotation_deg": info.rotation_deg,
            "fps": info.fps,
            "duration_s": info.duration_s,
            "recorded_at": info.recorded_at.isoformat() if info.recorded_at else None,
            "problem": info.problem,
        },
        position=timeline.n_frames,
        n_frames=timeline.n_frames,
        time_base=str(timeline.time_base),
        source=timeline.source,
        seekable=timeline.seekable,
    )


def _send_frame(answers: Answers, frame: Frame, path_used: DecoderPath) -> None:
    answers.send(
        "frame",
        frame.image.data,
        position=frame.index,
        index=frame.index,
        pts=frame.pts,
        keyframe=frame.keyframe,
        shape=frame.image.shape,
        path_used=path_used,
    )


if __name__ == "__main__":
    main()
