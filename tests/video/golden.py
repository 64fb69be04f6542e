"""Videos whose frames carry their own number, painted so that compression does not blur it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT_PX, WIDTH_PX = 240, 320
N_FRAMES = 300
FPS = 30
EDITED_OUT = 31

_SQUARE_PX = 32
_BITS = 12
_CHECK = 12

Image = NDArray[np.uint8]


def paint(number: int) -> Image:
    """An RGB picture with `number` as 12 black or white squares, 12 more as a check, in motion."""
    rng = np.random.default_rng(number // 5)  # a new texture every 5 frames: B-frames pay off
    coarse = rng.integers(60, 190, size=(HEIGHT_PX // 8, WIDTH_PX // 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
    cv2.circle(image, (20 + number * 7 % 280, 200), 15, (255, 40, 40), -1)
    code = number | _checksum(number) << _BITS
    for bit in range(_BITS + _CHECK):
        y, x = divmod(bit, 8)
        top, left = 16 + y * (_SQUARE_PX + 8), 8 + x * (_SQUARE_PX + 6)
        image[top : top + _SQUARE_PX, left : left + _SQUARE_PX] = 255 * (code >> bit & 1)
    return image.astype(np.uint8)


def painted_number(image: Image) -> int | None:
    """The number in such a picture; None where the squares are damaged."""
    code = 0
    for bit in range(_BITS + _CHECK):
        y, x = divmod(bit, 8)
        top, left = 16 + y * (_SQUARE_PX + 8), 8 + x * (_SQUARE_PX + 6)
        mean = image[top + 6 : top + _SQUARE_PX - 6, left + 6 : left + _SQUARE_PX - 6].mean()
        code |= int(mean > 127) << bit
    number = code & (1 << _BITS) - 1
    return number if code >> _BITS == _checksum(number) else None


def _checksum(number: int) -> int:
    return (number * 2741 + 1237) % 4093


def write_video(
    path: Path,
    *,
    codec: str = "libx264",
    container: str | None = None,
    options: dict[str, str] | None = None,
    mux_options: dict[str, str] | None = None,
    pts_ms: Callable[[int], int] | None = None,
    rotation: int = 0,
    n_frames: int = N_FRAMES,
) -> Path:
    """Encode `n_frames` painted frames, at 30 a second unless `pts_ms` says when each comes."""
    with av.open(str(path), "w", format=container, options=mux_options or {}) as out:
        stream: Any = out.add_stream(codec, rate=FPS)
        stream.width, stream.height = WIDTH_PX, HEIGHT_PX
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = options or {}
        stream.codec_context.thread_count = 1
        if pts_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(n_frames):
            frame = av.VideoFrame.from_ndarray(paint(number), format="rgb24")
            frame.pts = number if pts_ms is None else pts_ms(number)
            frame.time_base = Fraction(1, FPS) if pts_ms is None else Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def remux(
    source: Path,
    path: Path,
    *,
    shift_frames: int = 0,
    mux_options: dict[str, str] | None = None,
) -> Path:
    """Copy the packets into another file, every PTS moved."""
    with av.open(str(source)) as inp, av.open(str(path), "w", options=mux_options or {}) as out:
        template = inp.streams.video[0]
        stream = out.add_stream_from_template(template)
        assert template.time_base is not None
        shift = int(Fraction(shift_frames, FPS) / template.time_base)
        for packet in inp.demux(template):
            if packet.size:
                assert packet.pts is not None and packet.dts is not None
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = stream
                out.mux(packet)
    return path


def _irregular_ms(number: int) -> int:
    return number * 33 + (number % 7) * 4 + 900 * (number // 90)


_X264 = {"g": "48", "preset": "veryfast", "crf": "23"}
_B_FRAMES = _X264 | {"bf": "3", "b_strategy": "0"}


def _x264(**more: str) -> dict[str, str]:
    return _X264 | more


def _with_edit_list(path: Path) -> Path:
    whole = write_video(path.with_suffix(".whole.mp4"), options=_B_FRAMES)
    return remux(
        whole,
        path,
        shift_frames=-EDITED_OUT,
        mux_options={"avoid_negative_ts": "disabled", "use_editlist": "1"},
    )


def _with_hole(path: Path) -> Path:
    write_video(path, options=_B_FRAMES | {"g": "30"})
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(4096))
    return path


def _cut(path: Path, whole: Path, *, start: float = 0.0, stop: float = 1.0, unit: int = 1) -> Path:
    content = whole.read_bytes()
    first, last = (int(len(content) * part) // unit * unit for part in (start, stop))
    path.write_bytes(content[first:last])
    return path


RECIPES: dict[str, Callable[[Path], Path]] = {
    "constant.mp4": lambda p: write_video(p, options=_x264(bf="0")),
    "b_frames.mp4": lambda p: write_video(p, options=_B_FRAMES),
    "open_gop.mp4": lambda p: write_video(
        p, options=_B_FRAMES | {"x264-params": "open-gop=1:keyint=48:min-keyint=48:scenecut=0"}
    ),
    "intra_refresh.mp4": lambda p: write_video(
        p, options={"preset": "veryfast", "g": "48", "intra-refresh": "1", "bf": "0"}
    ),
    "hevc.mp4": lambda p: write_video(
        p, codec="libx265", options={"preset": "ultrafast", "x265-params": "keyint=48:log-level=0"}
    ),
    "variable.mp4": lambda p: write_video(p, options=_B_FRAMES, pts_ms=_irregular_ms),
    "variable.mkv": lambda p: write_video(p, options=_B_FRAMES, pts_ms=_irregular_ms),
    "edit_list.mp4": _with_edit_list,
    "fragmented.mp4": lambda p: write_video(
        p, options=_B_FRAMES, mux_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "transport.ts": lambda p: write_video(p, options=_B_FRAMES),
    "cut.ts": lambda p: _cut(
        p, write_video(p.with_suffix(".whole.ts"), options=_B_FRAMES), start=0.1, unit=188
    ),
    "b_frames.avi": lambda p: write_video(p, options=_B_FRAMES),
    "mpeg4.avi": lambda p: write_video(p, codec="mpeg4", options={"g": "12", "b": "3M"}),
    "mpeg4_b_frames.avi": lambda p: write_video(
        p, codec="mpeg4", options={"g": "12", "bf": "2", "b": "3M"}
    ),
    "screen.wmv": lambda p: write_video(
        p, codec="wmv2", container="asf", options={"g": "12", "b": "3M"}
    ),
    "mjpeg.avi": lambda p: write_video(p, codec="mjpeg", options={"qmin": "3", "qmax": "5"}),
    "vp9.webm": lambda p: write_video(
        p, codec="libvpx-vp9", options={"g": "48", "deadline": "realtime", "cpu-used": "8"}
    ),
    "vp8.webm": lambda p: write_video(
        p,
        codec="libvpx",
        options={"g": "48", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "4", "b": "2M"},
    ),
    "mpeg2.mpg": lambda p: write_video(
        p, codec="mpeg2video", container="vob", options={"g": "12", "bf": "2", "b": "4M"}
    ),
    "long_gop.mp4": lambda p: write_video(
        p, options=_B_FRAMES | {"g": "250", "sc_threshold": "0"}, n_frames=600
    ),
    "rotated.mp4": lambda p: write_video(p, options=_B_FRAMES, rotation=90, n_frames=60),
    "upside_down.mp4": lambda p: write_video(p, options=_B_FRAMES, rotation=180, n_frames=60),
    "hole.mp4": _with_hole,
    "truncated.mkv": lambda p: _cut(
        p, write_video(p.with_suffix(".whole.mkv"), options=_B_FRAMES), stop=0.6
    ),
    "truncated.avi": lambda p: _cut(
        p, write_video(p.with_suffix(".whole.avi"), codec="mjpeg"), stop=0.6
    ),
    "no_moov.mp4": lambda p: _cut(
        p, write_video(p.with_suffix(".whole.mp4"), options=_B_FRAMES), stop=0.7
    ),
    "truncated_faststart.mp4": lambda p: _cut(
        p,
        write_video(
            p.with_suffix(".whole.mp4"), options=_B_FRAMES, mux_options={"movflags": "faststart"}
        ),
        stop=0.6,
    ),
}


def golden_video(name: str, folder: Path) -> Path:
    """The named video of the golden set, made in `folder` when first asked for."""
    path = folder / name
    if not path.exists():
        RECIPES[name](path)
    return path


def read_by_opencv(path: str | os.PathLike[str]) -> Iterable[Image]:
    """Yield the frames as the labelling tool gets them: OpenCV, in sequence, as RGB."""
    capture = cv2.VideoCapture(os.fspath(path))
    try:
        while True:
            delivered, image = capture.read()
            if not delivered:
                return
            yield np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)
    finally:
        capture.release()
