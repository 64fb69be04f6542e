"""The decoding child: serves the requests of one `VideoProcess` over stdin and stdout.

Run as `python -m alwatch.video.worker`; `alwatch.child` says how it is talked to.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av.logging
import numpy as np

from alwatch.child import Answers, requests
from alwatch.errors import AlwatchError
from alwatch.records import DecoderPath, Frame, Timeline, VideoInfo
from alwatch.video.reader import FileReader
from alwatch.video.source import shown_path

_NICENESS = 5


def main() -> None:
    """Serve requests until stdin ends."""
    answers = Answers()
    av.logging.restore_default_callback()  # to stderr: no Python lock is taken for it
    av.logging.set_libav_level(av.logging.ERROR)
    asked = requests(sys.stdin.buffer)
    settings = next(asked)
    _restrict_self(settings["memory_bytes"])
    try:
        _serve(settings, asked, answers)
    except BrokenPipeError:
        os._exit(0)  # the parent has gone; there is nobody to tell


def _restrict_self(memory_bytes: int) -> None:
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _serve(settings: dict[str, Any], asked: Iterator[dict[str, Any]], answers: Answers) -> None:
    path = Path(settings["path"])
    reader: FileReader | None = None
    for request in asked:
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
