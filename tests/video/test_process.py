"""The decoding child: whatever happens to it, the parent gets frames or one clear error."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from alwatch.errors import DecoderDiedError, VideoError, VideoIncompleteError
from alwatch.video.process import DecodeLimits, VideoProcess, open_video
from alwatch.video.reader import FileReader
from tests.video.conftest import Golden
from tests.video.golden import painted_number

BIG_PX = (720, 960)  # 600 frames of it do not fit into the buffer: the child cannot run ahead


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if is_gone(pid):
            return True
        time.sleep(0.02)
    return False


def pid_of(video: VideoProcess) -> int:
    assert video.child_pid is not None
    return video.child_pid


@pytest.mark.parametrize("name", ["b_frames.mp4", "variable.mkv", "b_frames.avi", "transport.ts"])
def test_the_child_gives_what_the_reader_gives(name: str, golden: Golden) -> None:
    wanted = np.array([0, 7, 150, 299])
    with (
        open_video(golden(name)) as video,
        FileReader(golden(name), max_pixels=8192**2, beat=lambda _: None) as reader,
    ):
        info, timeline = video.probe()
        expected_info, expected = reader.probe()
        assert info == expected_info
        assert np.array_equal(timeline.pts, expected.pts)
        assert np.array_equal(timeline.keyframe, expected.keyframe)
        assert (timeline.time_base, timeline.source, timeline.seekable) == (
            expected.time_base,
            expected.source,
            expected.seekable,
        )
        for size_px in (None, (48, 64)):
            pairs = zip(
                video.read(wanted, size_px=size_px),
                reader.read(wanted, size_px=size_px),
                strict=True,
            )
            for frame, other in pairs:
                assert (frame.index, frame.pts, frame.keyframe) == (
                    other.index,
                    other.pts,
                    other.keyframe,
                )
                assert np.array_equal(frame.image, other.image)
        assert video.path_used == reader.path_used


def test_one_child_serves_request_after_request(golden: Golden) -> None:
    with open_video(golden("constant.mp4")) as video:
        video.probe()
        pid = pid_of(video)
        for index in (3, 200):
            (frame,) = video.read(np.array([index]))
            assert painted_number(frame.image) == index
        assert pid_of(video) == pid
    assert is_gone(pid)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_child_that_crashes_is_one_error_and_the_next_read_works(
    signal_number: signal.Signals, golden: Golden
) -> None:
    with open_video(golden("long_gop.mp4")) as video:
        frames = video.read(np.arange(600), size_px=BIG_PX)
        next(frames)
        os.kill(pid_of(video), signal_number)
        with pytest.raises(DecoderDiedError, match=signal_number.name):
            list(frames)
        (frame,) = video.read(np.array([5]))
        assert painted_number(frame.image) == 5


def test_a_child_that_hangs_is_killed(golden: Golden) -> None:
    with open_video(golden("long_gop.mp4"), limits=DecodeLimits(stall_s=1.0)) as video:
        frames = video.read(np.arange(600), size_px=BIG_PX)
        next(frames)
        pid = pid_of(video)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(DecoderDiedError, match="stall_s"):
            list(frames)
        assert is_gone(pid)


def test_a_child_that_hangs_before_it_takes_a_request_is_killed(golden: Golden) -> None:
    with open_video(golden("long_gop.mp4"), limits=DecodeLimits(stall_s=1.0)) as video:
        video.probe()
        pid = pid_of(video)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(DecoderDiedError, match="stall_s"):
            list(video.read(np.arange(600)))
        assert is_gone(pid)


def test_a_read_that_takes_too_long_altogether_is_ended(golden: Golden) -> None:
    with (
        open_video(golden("long_gop.mp4"), limits=DecodeLimits(wall_s=0.01)) as video,
        pytest.raises(DecoderDiedError, match="wall_s"),
    ):
        video.probe()


def test_a_slow_consumer_is_no_stall(golden: Golden) -> None:
    limits = DecodeLimits(stall_s=1.0, wall_s=20.0)
    with open_video(golden("long_gop.mp4"), limits=limits) as video:
        frames = video.read(np.arange(600), size_px=BIG_PX)
        next(frames)
        time.sleep(2.0)  # longer than the child may be silent
        assert sum(1 for _ in frames) == 599


def test_a_read_given_up_leaves_no_process(golden: Golden) -> None:
    with open_video(golden("long_gop.mp4")) as video:
        for frame in video.read(np.arange(600), size_px=BIG_PX):
            assert frame.index == 0
            pid = pid_of(video)
            break
        (frame,) = video.read(np.array([9]))
        assert painted_number(frame.image) == 9
        assert is_gone(pid)


def test_a_newer_read_ends_the_older_one(golden: Golden) -> None:
    with open_video(golden("long_gop.mp4")) as video:
        older = video.read(np.arange(600), size_px=BIG_PX)
        next(older)
        assert [frame.index for frame in video.read(np.array([1, 2]))] == [1, 2]
        with pytest.raises(DecoderDiedError):
            list(older)
        assert [frame.index for frame in video.read(np.array([3]))] == [3]


def test_close_from_another_thread_wakes_a_waiting_read(golden: Golden) -> None:
    video = open_video(golden("long_gop.mp4"))
    frames = video.read(np.arange(600), size_px=BIG_PX)
    next(frames)
    pid = pid_of(video)
    os.kill(pid, signal.SIGSTOP)
    failures: list[BaseException] = []

    def drain() -> None:
        try:
            list(frames)
        except DecoderDiedError as error:
            failures.append(error)

    reading = threading.Thread(target=drain)
    reading.start()
    video.close()
    reading.join(5)
    assert not reading.is_alive()
    assert len(failures) == 1
    assert is_gone(pid)
    video.close()
    with pytest.raises(ValueError, match="closed"):
        list(video.read(np.array([0])))


def test_the_child_ends_with_its_parent(golden: Golden) -> None:
    script = (
        "import sys, numpy as np, time\n"
        "from pathlib import Path\n"
        "from alwatch.video.process import open_video\n"
        "video = open_video(Path(sys.argv[1]))\n"
        "frames = video.read(np.arange(600), size_px=(720, 960))\n"
        "next(frames)\n"
        "print(video.child_pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(golden("long_gop.mp4"))], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    with parent:
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        parent.kill()
    assert wait_until_gone(pid)


def test_what_on_progress_raises_ends_the_read_and_the_child(golden: Golden) -> None:
    class StopRequestedError(Exception):
        pass

    def stop(position: int) -> None:
        if position > 100:
            raise StopRequestedError

    with open_video(golden("long_gop.mp4"), on_progress=stop) as video:
        frames = video.read(np.arange(0, 600, 10), size_px=(24, 32))
        with pytest.raises(StopRequestedError):
            list(frames)
        assert video.child_pid is None


def test_progress_is_reported_while_no_frame_is_due(data_dir: Path) -> None:
    path = data_dir / "sleap/docs/notebooks/analysis_example/20190128_113421.120s.mp4"
    seen: list[int] = []
    with open_video(path, fast_path="none", on_progress=seen.append) as video:
        video.probe()
        seen.clear()
        assert [frame.index for frame in video.read(np.array([2999]))] == [2999]
    assert seen[-1] == 2999
    assert len(seen) > 2
    assert seen == sorted(seen)


def test_the_memory_limit_is_an_error_that_names_it(golden: Golden) -> None:
    limits = DecodeLimits(memory_bytes=2**29)
    with (
        open_video(golden("mjpeg.avi"), limits=limits) as video,
        pytest.raises(DecoderDiedError, match=r"limit of 0\.50 GiB"),
    ):
        list(video.read(np.array([0]), size_px=(16_000, 16_000)))


def test_the_child_runs_under_its_limits(golden: Golden) -> None:
    with open_video(golden("constant.mp4"), limits=DecodeLimits(memory_bytes=2**31)) as video:
        video.probe()
        pid = pid_of(video)
        assert resource.prlimit(pid, resource.RLIMIT_AS) == (2**31, 2**31)
        assert resource.prlimit(pid, resource.RLIMIT_FSIZE) == (0, 0)
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
        mapped = Path(f"/proc/{pid}/maps").read_text()
        assert "torch" not in mapped
        assert "cv2" not in mapped


def test_errors_come_back_as_what_they_are_with_ffmpegs_words(
    golden: Golden, tmp_path: Path
) -> None:
    with (
        open_video(golden("no_moov.mp4")) as video,
        pytest.raises(VideoIncompleteError, match=r"FFmpeg says: mov,mp4.*moov atom not found"),
    ):
        video.probe()
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for path in (text, empty, tmp_path, tmp_path / "missing.mp4"):
        with open_video(path) as video, pytest.raises(VideoError) as refused:
            list(video.read(np.array([0])))
        assert "\n" not in str(refused.value)


def test_any_file_name_reaches_the_child(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"-caf\xe9\n:x.mp4")
    shutil.copy(golden("constant.mp4"), path)
    with open_video(path) as video:
        (frame,) = video.read(np.array([11]))
    assert painted_number(frame.image) == 11


def test_wrong_indices_are_the_callers_fault(golden: Golden) -> None:
    with open_video(golden("constant.mp4")) as video:
        for indices in ([300], [5, 5], [-1]):
            with pytest.raises(ValueError, match="frame"):
                list(video.read(np.array(indices)))
        assert list(video.read(np.array([], dtype=np.int64))) == []


@pytest.mark.parametrize("name", ["memory_bytes", "max_pixels", "stall_s", "wall_s"])
def test_limits_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        DecodeLimits(**{name: 0})
