from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from alwatch.errors import VideoError
from alwatch.video.source import open_source, shown_path


def make(kind: str, path: Path) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(path))
    elif kind == "empty":
        path.touch()


@pytest.mark.parametrize("kind", ["folder", "FIFO", "socket", "empty", "No such file"])
def test_what_is_no_file_is_refused_at_once_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    make(kind, path)
    with pytest.raises(VideoError) as refused, open_source(path):
        pass
    message = str(refused.value)
    assert kind in message
    assert str(path) in message
    assert "\n" not in message


def test_any_name_is_shown_as_one_printable_line() -> None:
    shown = shown_path(os.fsdecode(b"caf\xe9\nrm -rf\x1b[31m.mp4"))
    assert shown == "caf\\xe9\\nrm -rf\\x1b[31m.mp4"
    assert shown_path("Käfig 3.mp4") == "Käfig 3.mp4"
