"""What decoding costs: keyframe scans, the child process, keyframe seeks, memory.

Run: python -m tests.bench.bench_decode [--quick]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from alwatch.video.decode import ImageConverter
from alwatch.video.limits import FastPath
from alwatch.video.process import VideoProcess, open_video
from alwatch.video.reader import FileReader

FPS = 30
SMALL_PX = (224, 224)

Indices = NDArray[np.int64]


def make_video(
    path: Path, *, height_px: int, width_px: int, seconds: int, codec: str = "libx264"
) -> Path:
    """Encode 20 s of moving texture once and repeat its packets until `seconds` are full."""
    clip_s = min(20, seconds)
    packets = []
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=FPS)
        stream.width, stream.height = width_px, height_px
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if codec == "libx264":
            stream.options = {"preset": "veryfast", "g": "250", "x264-params": "scenecut=0"}
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 255, (height_px // 16, width_px // 16, 3), dtype=np.uint8)
        scene = cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
        for number in range(clip_s * FPS):
            moved = np.roll(scene, (number, 3 * number), axis=(0, 1))
            grain = rng.integers(0, 8, (height_px, width_px, 1), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(moved // 2 + grain, format="rgb24")
            frame.pts = number
            packets += [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in stream.encode(frame)]
        packets += [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in stream.encode(None)]
        time_base = stream.codec_context.time_base
        for turn in range(seconds // clip_s):
            for content, pts, dts, is_keyframe in packets:
                packet = av.Packet(content)
                shift = turn * clip_s * FPS
                packet.pts, packet.dts, packet.time_base = pts + shift, dts + shift, time_base
                packet.is_keyframe = is_keyframe
                packet.stream = stream
                out.mux(packet)
    return path


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    since = time.perf_counter()
    work()
    return time.perf_counter() - since


def decode_all(path: Path, thread_type: str) -> int:
    """Decode every frame with PyAV alone."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = thread_type
        return sum(1 for _ in container.decode(video=0))


def read_all(video: VideoProcess, indices: Indices) -> None:
    """Read these frames and drop them."""
    for _ in video.read(indices, size_px=SMALL_PX):
        pass


def report(title: str, rows: list[tuple[str, float]], reference_s: float) -> None:
    """Print seconds, and how many times faster than the reference each is."""
    print(f"\n{title}")
    for name, seconds in rows:
        print(f"  {name:<52} {seconds:8.2f} s {reference_s / seconds:8.2f} x")


def bench_keyframes(path: Path) -> None:
    """Compare a scan of the keyframes with a full decode."""
    full_s = timed(lambda: decode_all(path, "FRAME"))
    with FileReader(path, fast_path="keyframe", max_pixels=8192**2, beat=lambda _: None) as reader:
        probe_s = timed(reader.probe)
        keys = np.flatnonzero(reader.probe()[1].keyframe)
        first_s = timed(lambda: list(reader.read(keys, size_px=SMALL_PX)))
        again_s = timed(lambda: list(reader.read(keys, size_px=SMALL_PX)))
        assert reader.path_used == "keyframe"
    rows = [
        ("full decode, PyAV, frame threads", full_s),
        ("packet scan and probe", probe_s),
        (f"probe + {keys.size} keyframes, verification included", probe_s + first_s),
        ("probe + keyframes, once verified", probe_s + again_s),
    ]
    report(f"keyframe scan: {path.name}", rows, full_s)


def bench_sequence(path: Path, indices: Indices) -> None:
    """Compare the child with PyAV in this process, with OpenCV and with decord."""
    wanted = set(indices.tolist())

    def by_pyav(thread_type: str) -> None:
        converter = ImageConverter(SMALL_PX)
        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = thread_type
            for index, frame in enumerate(container.decode(video=0)):
                if index in wanted:
                    converter.image(frame)
                if index == indices[-1]:
                    break

    def by_child() -> None:
        with open_video(path, fast_path="none") as video:
            assert sum(1 for _ in video.read(indices, size_px=SMALL_PX)) == indices.size

    def by_opencv() -> None:
        capture = cv2.VideoCapture(str(path))
        for index in range(int(indices[-1]) + 1):
            capture.grab()
            if index in wanted:
                image = capture.retrieve()[1]
                cv2.resize(image, SMALL_PX, interpolation=cv2.INTER_AREA)

    def by_decord() -> None:
        import decord

        reader = decord.VideoReader(str(path), width=SMALL_PX[1], height=SMALL_PX[0])
        for index in indices.tolist():
            reader[index].asnumpy()

    reference_s = timed(lambda: by_pyav("FRAME"))
    rows = [
        ("PyAV in this process, frame threads", reference_s),
        ("PyAV in this process, one thread", timed(lambda: by_pyav("NONE"))),
        ("PyAV in this process, slice threads", timed(lambda: by_pyav("SLICE"))),
        ("through the child process", timed(by_child)),
        ("OpenCV", timed(by_opencv)),
        ("decord", timed(by_decord)),
    ]
    report(f"{indices.size} frames in sequence: {path.name}", rows, reference_s)


def bench_seeks(path: Path, count: int) -> None:
    """Compare keyframe seeks with a read in sequence."""
    rows = []
    paths: list[FastPath] = ["none", "keyframe", "auto"]
    for fast_path in paths:
        with open_video(path, fast_path=fast_path) as video:
            n_frames = video.probe()[1].n_frames
            indices = np.linspace(0, n_frames - 1, count).round().astype(np.int64)
            seconds = timed(partial(read_all, video, indices))
            rows.append((f"fast_path={fast_path}, went by {video.path_used}", seconds))
    report(f"{count} of {n_frames} frames: {path.name}", rows, rows[0][1])


def bench_memory(path: Path) -> None:
    """Print the child's resident memory along a long read."""
    print(f"\nresident memory of the child: {path.name}")
    with open_video(path, fast_path="none") as video:
        n_frames = video.probe()[1].n_frames
        indices = np.linspace(0, n_frames - 1, 400).round().astype(np.int64)
        status = Path(f"/proc/{video.child_pid}/status")
        for number, frame in enumerate(video.read(indices, size_px=SMALL_PX)):
            if number % 80 == 79:
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
                now_mb, peak_mb = (int(lines[k].split()[0]) / 1024 for k in ("VmRSS", "VmHWM"))
                print(f"  at frame {frame.index:>7}: {now_mb:6.0f} MB, peak {peak_mb:6.0f} MB")


def main() -> None:
    """Make the videos and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter videos")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long_s, hd_s = (60, 20) if quick else (600, 180)
        hd = make_video(folder / "720p.mp4", height_px=720, width_px=1280, seconds=long_s)
        bench_keyframes(hd)
        n_frames = long_s * FPS
        bench_sequence(hd, np.arange(0, min(n_frames, 1800), 10, dtype=np.int64))
        bench_seeks(hd, 20 if quick else 200)
        intra = folder / "720p_mjpeg.avi"
        bench_seeks(
            make_video(intra, height_px=720, width_px=1280, seconds=hd_s, codec="mjpeg"), 200
        )
        bench_memory(make_video(folder / "1080p.mp4", height_px=1080, width_px=1920, seconds=hd_s))


if __name__ == "__main__":
    main()
