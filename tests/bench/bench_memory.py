"""Peak memory of ingesting an hour of 1080p: the command, its decoding child, and their sum.

python -m tests.bench.bench_memory [--minutes 60] [--path none]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

SETTINGS = """\
state_dir: {folder}/state
archive: [{folder}/archive]
sampling: {{rate_hz: 1, max_frames: 4000}}
decoding: {{fast_path: {fast_path}}}
"""


def make_long_video(path: Path, minutes: int) -> None:
    """Encode 20 s of moving content at 30 Hz, a keyframe every 250, and loop its packets."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (140, 240, 3), np.uint8).repeat(12, 0).repeat(12, 1)
    clip = path.with_suffix(".clip.mp4")
    options = {"preset": "veryfast", "g": "250", "bf": "0"}
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number in range(600):
            image = np.ascontiguousarray(ground[number % 500 :, number % 900 :][:1080, :1920])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [p for p in source.demux(source.streams.video[0]) if p.size]
        for loop in range(minutes * 3):
            for packet in packets:
                copy = av.Packet(bytes(packet))
                copy.stream, copy.time_base = stream, packet.time_base
                copy.is_keyframe = packet.is_keyframe
                offset = round(20 * loop / packet.time_base)
                copy.pts, copy.dts = packet.pts + offset, packet.dts + offset
                target.mux(copy)
    clip.unlink()


def resident_mb(pid: int) -> float:
    """Resident memory of one process in MB; 0 once it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * 4096 / 1e6


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def watch(command: list[str]) -> tuple[list[tuple[float, float]], float]:
    """Run a command; (parent, children) memory in MB over time, and the seconds it took."""
    start = time.perf_counter()
    seen = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while process.poll() is None:
            below = sum(resident_mb(child) for child in children(process.pid))
            seen.append((resident_mb(process.pid), below))
            time.sleep(0.1)
        output = process.stdout.read().decode() if process.stdout else ""
    if process.returncode:
        sys.exit(output)
    return seen, time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--path", choices=["auto", "none"], action="append", default=None)
    options = parser.parse_args()
    print("path      seconds  peak_parent_mb  peak_child_mb  peak_sum_mb  sum_mb_by_quarter")
    for fast_path in options.path or ("auto", "none"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "archive").mkdir()
            make_long_video(folder / "archive" / "long.mp4", options.minutes)
            settings = folder / "alwatch.yaml"
            settings.write_text(SETTINGS.format(folder=folder, fast_path=fast_path))
            command = [sys.executable, "-m", "alwatch", "--config", str(settings), "ingest"]
            seen, seconds = watch(command)
        sums = [parent + child for parent, child in seen]
        quarters = [max(part) for part in np.array_split(sums, 4)]
        parent, child = (max(column) for column in zip(*seen, strict=True))
        by_quarter = " ".join(f"{value:.0f}" for value in quarters)
        print(
            f"{fast_path:8s}  {seconds:7.1f}  {parent:14.0f}  {child:13.0f}  {max(sums):11.0f}  "
            f"{by_quarter}"
        )


if __name__ == "__main__":
    main()
