"""The frame index, on files whose frames carry their number, and against OpenCV on real ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from alwatch.errors import VideoError, VideoIncompleteError
from alwatch.records import DecoderPath, Timeline
from alwatch.video.limits import FastPath
from alwatch.video.reader import FileReader
from tests.video.conftest import Golden
from tests.video.golden import EDITED_OUT, painted_number, read_by_opencv, write_video

INTACT = [
    "constant.mp4",
    "b_frames.mp4",
    "open_gop.mp4",
    "intra_refresh.mp4",
    "hevc.mp4",
    "variable.mp4",
    "variable.mkv",
    "edit_list.mp4",
    "fragmented.mp4",
    "transport.ts",
    "cut.ts",
    "b_frames.avi",
    "mpeg4.avi",
    "mpeg4_b_frames.avi",
    "screen.wmv",
    "mjpeg.avi",
    "vp9.webm",
    "vp8.webm",
    "mpeg2.mpg",
    "long_gop.mp4",
]
ADMITTED: dict[tuple[str, FastPath], DecoderPath] = {
    ("constant.mp4", "keyframe"): "keyframe",
    ("b_frames.mp4", "keyframe"): "keyframe",
    ("hevc.mp4", "keyframe"): "keyframe",
    ("variable.mp4", "keyframe"): "keyframe",
    ("variable.mkv", "keyframe"): "keyframe",
    ("mjpeg.avi", "keyframe"): "keyframe",
    ("long_gop.mp4", "keyframe"): "keyframe",
    ("constant.mp4", "decord"): "decord",
    ("b_frames.mp4", "decord"): "decord",
    ("variable.mp4", "decord"): "decord",
    ("mjpeg.avi", "decord"): "decord",
    # refused: the path is wrong on these files
    ("intra_refresh.mp4", "keyframe"): "sequence",
    ("b_frames.avi", "keyframe"): "sequence",
    ("edit_list.mp4", "keyframe"): "sequence",
    ("b_frames.avi", "decord"): "sequence",
    ("transport.ts", "decord"): "sequence",
    ("screen.wmv", "decord"): "sequence",
    ("edit_list.mp4", "decord"): "sequence",
}
REAL = [
    "dlc-openfield/openfield-Pranav-2018-10-30/videos/m3v1mp4.mp4",
    "dlc-reaching/Reaching-Mackenzie-2018-08-30/videos/reachingvideoS.avi",
    "dlc-reaching/reachingvideo1_halfres_256f.avi",
    "dlc-reaching/vid1_camera-1.avi",
    "flies-dlc/videos/clip_a.mp4",
    "flies-dlc/videos/fly20190128_b.mp4",
    "lp-mirror-mouse/mirror-mouse-example/videos/test_vid.mp4",
    "odd-videos/h265_video.mp4",
    "odd-videos/nasa_13013_rotated.mp4",
    "odd-videos/test_non_zero_start.mp4",
    "odd-videos/testsrc2_mpeg4.avi",
    "odd-videos/testsrc2_odd_height_and_width_444.mp4",
    "odd-videos/testsrc2_vp9.webm",
    "odd-videos/video_0.mov",
    "odd-videos/video_180.mov",
    "odd-videos/video_270.mov",
    "odd-videos/video_90.mov",
    "sleap/tests/data/videos/centered_pair_small.mp4",
    "sleap/tests/data/videos/dance.mp4",
    "sleap/tests/data/videos/small_robot.mp4",
    "sleap/tests/data/videos/small_robot_3_frame.mp4",
]


@contextmanager
def opened(path: Path, fast_path: FastPath = "auto") -> Iterator[FileReader]:
    with FileReader(path, fast_path=fast_path, max_pixels=8192**2, beat=lambda _: None) as reader:
        yield reader


def sixty_of(n_frames: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(n_frames)
    return np.sort(rng.choice(n_frames, size=min(60, n_frames), replace=False)).astype(np.int64)


# --- the golden set ----------------------------------------------------------------------------


@pytest.mark.parametrize("fast_path", ["none", "auto", "keyframe", "decord"])
@pytest.mark.parametrize("name", INTACT)
def test_no_frame_is_wrong_on_any_path(name: str, fast_path: FastPath, golden: Golden) -> None:
    truth = [painted_number(image) for image in read_by_opencv(golden(name))]
    with opened(golden(name), fast_path) as reader:
        assert reader.probe()[1].n_frames == len(truth)
        wanted = sixty_of(len(truth))
        frames = list(reader.read(wanted))
        assert [frame.index for frame in frames] == wanted.tolist()
        assert [painted_number(frame.image) for frame in frames] == [truth[i] for i in wanted]
        expected = ADMITTED.get((name, fast_path))
        assert expected is None or reader.path_used == expected
        if fast_path == "none":
            assert reader.path_used == "sequence"


@pytest.mark.parametrize("name", ["b_frames.mp4", "open_gop.mp4", "variable.mkv", "vp9.webm"])
def test_keyframe_seeks_give_the_very_pixels_of_the_reference(name: str, golden: Golden) -> None:
    with opened(golden(name), "none") as reference, opened(golden(name), "keyframe") as seeking:
        wanted = np.arange(0, 300, 3)
        pairs = zip(reference.read(wanted), seeking.read(wanted), strict=True)
        for expected, frame in pairs:
            assert frame.index == expected.index
            assert frame.pts == expected.pts
            assert frame.keyframe == expected.keyframe
            assert np.array_equal(frame.image, expected.image)
        assert seeking.path_used == "keyframe"


def test_an_edit_list_shifts_the_index_as_opencv_does(golden: Golden) -> None:
    with opened(golden("edit_list.mp4")) as reader:
        assert reader.probe()[1].source == "packets"
        numbers = [painted_number(frame.image) for frame in reader.read(np.array([0, 100]))]
        assert numbers == [EDITED_OUT, EDITED_OUT + 100]


def test_a_file_whose_packets_mislead_is_counted_by_decoding(golden: Golden) -> None:
    for name in ("b_frames.avi", "cut.ts"):
        with opened(golden(name)) as reader:
            info, timeline = reader.probe()
            assert timeline.source == "decode"
            assert info.problem is None
    with opened(golden("b_frames.avi")) as reader:
        assert not reader.probe()[1].seekable


def test_auto_seeks_where_that_saves_work_and_else_reads_in_sequence(golden: Golden) -> None:
    with opened(golden("mjpeg.avi")) as reader:
        list(reader.read(np.array([0, 290])))
        few = reader.path_used
        list(reader.read(np.arange(300)))
        assert (few, reader.path_used) == ("keyframe", "sequence")
    with opened(golden("long_gop.mp4")) as reader:
        list(reader.read(np.array([10, 20])))
        assert reader.path_used == "sequence"


def test_variable_rate_keeps_its_times(golden: Golden) -> None:
    for name in ("variable.mp4", "variable.mkv"):
        with opened(golden(name)) as reader:
            timeline = reader.probe()[1]
            assert timeline.time_s(90) == pytest.approx((90 * 33 + 6 * 4 + 900) / 1000, abs=0.002)


# --- damage ------------------------------------------------------------------------------------


def test_frames_after_a_hole_keep_their_true_index(golden: Golden) -> None:
    with opened(golden("hole.mp4")) as reader:
        assert reader.probe()[1].n_frames == 300
        frames = list(reader.read(np.arange(300)))
    by_opencv = sum(1 for _ in read_by_opencv(golden("hole.mp4")))
    assert by_opencv < 160
    assert len(frames) > 280
    read = [(frame.index, painted_number(frame.image)) for frame in frames]
    assert [pair for pair in read if pair[1] not in (pair[0], None)] == []
    legible = [index for index, number in read if number == index]
    assert len(legible) > 280
    assert max(legible) == 299


def are_in_one_group(timeline: Timeline, indices: list[int]) -> bool:
    """Whether damage stays where it is: what a hole spoils ends at the next keyframe.

    Until there the decoder patches pictures, and may show a predecessor's number.
    """
    keys = np.flatnonzero(timeline.keyframe)
    groups = {int(np.searchsorted(keys, index, side="right")) for index in indices}
    return not groups or max(groups) - min(groups) <= 1


@pytest.mark.parametrize("part", np.linspace(0.1, 0.9, 9).round(2).tolist())
def test_wherever_the_hole_is_no_frame_is_misnumbered(
    part: float, golden: Golden, tmp_path: Path
) -> None:
    path = Path(shutil.copy(golden("b_frames.mp4"), tmp_path))
    with path.open("r+b") as file:
        file.seek(int(path.stat().st_size * part))
        file.write(bytes(4096))
    with opened(path, "keyframe") as reader:
        timeline = reader.probe()[1]
        frames = list(reader.read(np.arange(timeline.n_frames)))
    assert len(frames) > 200
    unlike = [frame.index for frame in frames if painted_number(frame.image) != frame.index]
    assert are_in_one_group(timeline, unlike)


@pytest.mark.parametrize("part", np.linspace(0.1, 0.9, 9).round(2).tolist())
@pytest.mark.parametrize("name", ["mjpeg.avi", "mpeg4.avi", "variable.mkv", "screen.wmv"])
def test_wherever_the_hole_is_seeks_give_what_the_reference_gives(
    name: str, part: float, golden: Golden, tmp_path: Path
) -> None:
    path = Path(shutil.copy(golden(name), tmp_path))
    with path.open("r+b") as file:
        file.seek(int(path.stat().st_size * part))
        file.write(bytes(16_000))
    with opened(path, "none") as reference, opened(path, "keyframe") as seeking:
        timeline = reference.probe()[1]
        wanted = np.arange(timeline.n_frames)
        expected = {frame.index: frame.image for frame in reference.read(wanted)}
        frames = {frame.index: frame.image for frame in seeking.read(wanted)}
    assert frames.keys() == expected.keys()
    unlike = [i for i in frames if not np.array_equal(frames[i], expected[i])]
    assert are_in_one_group(timeline, unlike)


def test_a_damaged_real_file_yields_what_can_be_decoded(data_dir: Path) -> None:
    path = data_dir / "odd-videos/corrupted.mp4"
    with opened(path) as reader:
        timeline = reader.probe()[1]
        assert timeline.n_frames == 50
        frames = list(reader.read(np.arange(50)))
    assert 28 <= len(frames) < 50
    assert all(frame.pts == timeline.pts[frame.index] for frame in frames)
    for frame, expected in zip(frames, read_by_opencv(path), strict=False):
        assert np.array_equal(frame.image, expected)


@pytest.mark.parametrize("name", ["truncated.mkv", "truncated.avi", "truncated_faststart.mp4"])
def test_a_truncated_file_is_read_as_far_as_it_goes_and_says_so(name: str, golden: Golden) -> None:
    with opened(golden(name)) as reader:
        info, timeline = reader.probe()
        assert info.problem is not None
        assert "ends early" in info.problem
        frames = list(reader.read(np.arange(timeline.n_frames)))
        numbers = [painted_number(frame.image) for frame in frames]
    assert len(frames) > 160
    assert numbers[:-3] == list(range(len(numbers) - 3))


@pytest.mark.parametrize("name", INTACT)
def test_an_intact_file_has_no_problem(name: str, golden: Golden) -> None:
    with opened(golden(name)) as reader:
        assert reader.probe()[0].problem is None


def test_an_mp4_without_its_index_is_unfinished(golden: Golden) -> None:
    with (
        opened(golden("no_moov.mp4")) as reader,
        pytest.raises(VideoIncompleteError, match="moov"),
    ):
        reader.probe()


# --- real files, against OpenCV ----------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
def test_index_picture_and_rotation_are_opencvs(name: str, data_dir: Path) -> None:
    path = data_dir / name
    with opened(path) as reader:
        info, timeline = reader.probe()
        wanted = np.unique(np.linspace(0, timeline.n_frames - 1, 12).round().astype(np.int64))
        frames = {frame.index: frame.image for frame in reader.read(wanted)}
    assert sorted(frames) == wanted.tolist()
    count = 0
    for index, expected in enumerate(read_by_opencv(path)):
        count += 1
        if index in frames:
            assert expected.shape == (info.height_px, info.width_px, 3)
            difference = np.abs(frames[index].astype(int) - expected)
            assert difference.max() <= (2 if info.codec == "mjpeg" else 0), f"frame {index}"
    assert count == timeline.n_frames


@pytest.mark.parametrize("name", ["rotated.mp4", "upside_down.mp4"])
def test_turned_videos_are_shown_upright_at_any_size(name: str, golden: Golden) -> None:
    with opened(golden(name)) as reader:
        info, _ = reader.probe()
        full = list(reader.read(np.array([0, 30])))
        small = list(reader.read(np.array([0, 30]), size_px=(info.height_px // 2, 100)))
    expected = list(read_by_opencv(golden(name)))
    assert np.array_equal(full[1].image, expected[30])
    assert small[1].image.shape == (info.height_px // 2, 100, 3)
    quarters = info.rotation_deg // 90
    assert painted_number(np.rot90(full[1].image, -quarters)) == 30


def test_keyframes_are_known_and_read_without_a_full_decode(data_dir: Path) -> None:
    path = data_dir / "dlc-openfield/openfield-Pranav-2018-10-30/videos/m3v1mp4.mp4"
    with av.open(str(path)) as container:
        flags = [bool(frame.key_frame) for frame in container.decode(video=0)]
    decoded: list[int] = []
    with FileReader(path, fast_path="keyframe", max_pixels=8192**2, beat=decoded.append) as reader:
        timeline = reader.probe()[1]
        assert timeline.keyframe.tolist() == flags
        keys = np.flatnonzero(timeline.keyframe)
        list(reader.read(keys[:1]))
        decoded.clear()
        frames = list(reader.read(keys))
        assert reader.path_used == "keyframe"
    assert [frame.index for frame in frames] == keys.tolist()
    assert all(frame.keyframe for frame in frames)
    assert max(decoded) <= 1


def test_shrinking_is_close_to_area_averaging(golden: Golden) -> None:
    with opened(golden("mjpeg.avi")) as reader:
        (full,) = reader.read(np.array([42]))
        (small,) = reader.read(np.array([42]), size_px=(60, 80))
    averaged = full.image.reshape(60, 4, 80, 4, 3).mean(axis=(1, 3))
    assert np.abs(small.image.mean(axis=2) - averaged.mean(axis=2)).mean() < 2
    assert np.abs(small.image.mean(axis=(0, 1)) - averaged.mean(axis=(0, 1))).max() < 2


# --- hostile and odd input ---------------------------------------------------------------------


def test_a_playlist_named_mp4_opens_nothing(golden: Golden, tmp_path: Path) -> None:
    shutil.copy(golden("constant.mp4"), tmp_path / "secret.mp4")
    playlist = tmp_path / "list.mp4"
    texts = ["ffconcat version 1.0\nfile secret.mp4\n", "#EXTM3U\n#EXTINF:5,\nsecret.mp4\n"]
    for text in texts:
        playlist.write_text(text)
        with opened(playlist) as reader, pytest.raises(VideoError, match="not a video"):
            reader.probe()


def test_text_named_mp4_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("cage 3, day 2\n" * 500)
    with opened(path) as reader, pytest.raises(VideoError, match="not a video"):
        reader.probe()


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    with opened(path) as reader, pytest.raises(VideoError, match="no video stream"):
        reader.probe()


def test_frames_over_the_pixel_cap_are_refused_before_decoding(golden: Golden) -> None:
    reader = FileReader(golden("constant.mp4"), max_pixels=320 * 240 - 1, beat=lambda _: None)
    with reader, pytest.raises(VideoError, match="320x240"):
        reader.probe()


@pytest.mark.parametrize("name", [b"-rf.mp4", b"a:b.mp4", b"caf\xe9.mp4", b"two\nlines.mp4"])
def test_any_file_name_works(name: bytes, golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    shutil.copy(golden("constant.mp4"), path)
    with opened(path) as reader:
        (frame,) = reader.read(np.array([7]))
    assert painted_number(frame.image) == 7


def test_a_video_of_one_frame_is_a_video(tmp_path: Path) -> None:
    with opened(write_video(tmp_path / "one.mp4", n_frames=1)) as reader:
        assert reader.probe()[1].n_frames == 1
        assert [frame.index for frame in reader.read(np.array([0]))] == [0]


@pytest.mark.parametrize("seed", range(8))
def test_scrambled_bytes_give_a_video_error_or_frames(
    seed: int, golden: Golden, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(golden(["b_frames.mp4", "mjpeg.avi", "vp9.webm"][seed % 3]).read_bytes())
    for position in rng.integers(0, len(content), size=300):
        content[position] = rng.integers(256)
    path = tmp_path / "scrambled.mp4"
    path.write_bytes(content)
    with opened(path) as reader:
        try:
            timeline = reader.probe()[1]
        except VideoError as error:
            assert "\n" not in str(error)
            return
        frames = list(reader.read(np.arange(timeline.n_frames), size_px=(24, 32)))
        assert all(frame.image.shape == (24, 32, 3) for frame in frames)
