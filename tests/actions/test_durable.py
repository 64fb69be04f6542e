from __future__ import annotations

from pathlib import Path

import pytest

from alwatch.actions.durable import read_json, write_json


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1})
    write_json(tmp_path / "a.json", {"b": 2})
    assert read_json(tmp_path / "a.json") == {"b": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"b": object()})
    assert read_json(tmp_path / "a.json") == {"b": 1}


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000])
def test_what_is_no_such_file_is_none(tmp_path: Path, content: str) -> None:
    assert read_json(tmp_path / "a.json") is None
    (tmp_path / "a.json").write_text(content)
    assert read_json(tmp_path / "a.json") is None
