from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alwatch.errors import SettingsError, shown


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert shown("a\x1b[31m\nb") == "a\\x1b[31m\\nb"
    assert shown("ä 漢") == "ä 漢"


@given(st.binary())
def test_any_file_name_becomes_one_line_of_text(name: bytes) -> None:
    text = shown(name.decode("utf-8", "surrogateescape"))
    assert text.isprintable()
    text.encode("utf-8")


def test_settings_errors_keep_their_faults_apart() -> None:
    error = SettingsError("one", "two")
    assert error.faults == ("one", "two")
    assert str(error) == "one\ntwo"
