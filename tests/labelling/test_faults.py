"""Exports that fail or are killed: what is there is whole, and the next run completes it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alwatch.errors import ExportError, VideoError
from alwatch.labelling.deeplabcut import DeepLabCutProject
from alwatch.labelling.lightning_pose import LightningPoseProject
from alwatch.labelling.sleap import SleapProject
from alwatch.labelling.staging import put_in_place
from alwatch.protocols import LabellingTool
from alwatch.records import QueuedVideo
from tests.conftest import REPOSITORY
from tests.labelling.dying_exports import STEPS, faults_of, fresh
from tests.labelling.helpers import (
    SKELETON,
    contents,
    make_queue,
    make_video,
    read_frames,
    snapshot,
)
from tests.labelling.image_tools import IMAGE_TOOLS

if TYPE_CHECKING:
    from alwatch.records import ImageArray

KINDS = ["deeplabcut", "lightning_pose", "sleap", *IMAGE_TOOLS]


@pytest.fixture(scope="module", params=KINDS)
def seen(request: pytest.FixtureRequest) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.labelling.dying_exports", request.param],
        capture_output=True,
        cwd=REPOSITORY,
        text=True,
        timeout=200,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_export_killed_at_any_step_leaves_whole_files_and_is_completed(
    seen: dict[str, Any],
) -> None:
    assert seen["killed"]["faults"] == []
    assert seen["killed"]["steps"] >= 10


def test_a_withdrawal_killed_at_any_step_leaves_whole_files_and_is_completed(
    seen: dict[str, Any],
) -> None:
    if "withdrawn" not in seen:
        pytest.skip("SLEAP keeps the file before beside it; see its own tests")
    assert seen["withdrawn"]["faults"] == []
    assert seen["withdrawn"]["steps"] >= 3


def test_a_file_that_cannot_be_written_to_its_end_leaves_nothing(seen: dict[str, Any]) -> None:
    assert "File too large" in seen["cut off"]["message"]
    assert "\n" not in seen["cut off"]["message"]
    assert seen["cut off"]["unchanged"]


def test_without_write_permission_one_line_says_so(seen: dict[str, Any]) -> None:
    assert "needs write permission for" in seen["read-only"]["message"]
    assert "\n" not in seen["read-only"]["message"]
    assert seen["read-only"]["unchanged"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_fills_up_at_any_step_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    root = tmp_path / "root"
    tool, videos = fresh(root, kind)
    configs = {path.read_bytes() for path in root.rglob("config.yaml")}
    tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
    configs |= {path.read_bytes() for path in root.rglob("config.yaml")}
    wanted = contents(root)
    failed = 0
    for step in range(1000):
        tool, videos = fresh(root, kind)
        left = [step]
        with monkeypatch.context() as patch:
            for name in STEPS:
                patch.setattr(os, name, failing(getattr(os, name), left))
            try:
                tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
            except ExportError as error:
                assert "No space left on device" in str(error)
                assert "\n" not in str(error)
                failed += 1
        assert faults_of(root, configs) == []
        tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
        assert contents(root) == wanted
        if left[0] >= 0:
            break
    assert failed > 5


def failing(change: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == -1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return change(*args, **kwargs)

    return call


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames_first", [0, 1, 2])
def test_a_decoder_that_gives_up_leaves_the_project_as_it_was(
    tmp_path: Path, kind: str, frames_first: int
) -> None:
    def gives_up(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
        for n, item in enumerate(read_frames(video)):
            if n == frames_first or video.width_px == 32:
                raise VideoError("the file ends here")
            yield item

    tool, videos = fresh(tmp_path / "root", kind)
    before = contents(tmp_path)
    with pytest.raises(VideoError, match="the file ends here"):
        tool.write_queue(make_queue(*videos), videos, gives_up, SKELETON)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_dead_run_has_staged_is_cleared_away(tmp_path: Path, kind: str) -> None:
    tool, videos = fresh(tmp_path / "root", kind)
    where = tmp_path / "root" / "out"
    labeled = kind in ("deeplabcut", "lightning_pose")
    stale = (where / "labeled-data" if labeled else where) / ".alwatch-staging-x1"
    (stale / "cam").mkdir(parents=True)
    (stale / "cam" / "img000.png").write_bytes(b"half")
    tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
    assert not stale.exists()


def test_a_name_that_is_taken_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "staged").write_bytes(b"new")
    (tmp_path / "there").write_bytes(b"a person's")
    assert not put_in_place(tmp_path / "staged", tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == b"a person's"
    assert put_in_place(tmp_path / "staged", tmp_path / "free")
    assert (tmp_path / "free").read_bytes() == b"new"


def test_a_file_system_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    tool, videos = fresh(tmp_path / "root", "deeplabcut")
    exported = tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
    assert exported.written == 4
    before = snapshot(tmp_path)
    assert tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON).kept == 5
    assert snapshot(tmp_path) == before
    (tmp_path / "staged").write_bytes(b"new")
    (tmp_path / "there").write_bytes(b"a person's")
    assert not put_in_place(tmp_path / "staged", tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == b"a person's"


@pytest.mark.parametrize(
    "make", [DeepLabCutProject, LightningPoseProject, SleapProject, *IMAGE_TOOLS.values()]
)
def test_a_project_that_is_not_there_is_not_made(
    tmp_path: Path, make: Callable[[Path], LabellingTool]
) -> None:
    tool = make(tmp_path / "no" / "such" / "project")
    video = make_video(tmp_path / "cam.mp4")
    with pytest.raises(ExportError):
        tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    with pytest.raises(ExportError):
        tool.read_labels()
    assert [path.name for path in tmp_path.iterdir()] == ["cam.mp4"]
