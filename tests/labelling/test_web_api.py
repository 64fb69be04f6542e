from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from alwatch.errors import ExportError
from alwatch.labelling.web_api import WebApi
from tests.labelling.fake_label_studio import running


class Odd(BaseHTTPRequestHandler):
    """Answers as the path says; keeps what was asked."""

    asked: list[tuple[str, str | None]]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        type(self).asked.append((self.path, self.headers["Authorization"]))
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/else")
            self.end_headers()
            return
        status = {"/page": 200, "/missing": 404, "/broken": 500, "/echo": 401}.get(self.path, 200)
        body = b"<html>\nhello" if self.path in ("/page", "/broken") else b'{"detail": "a\\nb"}'
        if self.path == "/echo":
            body = json.dumps({"detail": f"{self.headers['Authorization']} is none"}).encode()
        if self.path == "/deep":
            body = b"[" * 200_000
        self.send_response(status)
        kind = "text/html" if body[:1] == b"<" else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_GET


@pytest.fixture
def api(tmp_path: Path) -> Iterator[WebApi]:
    Odd.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    (tmp_path / "token").write_text("secret\n")
    url = f"http://127.0.0.1:{server.server_port}/"
    with running(server), WebApi(url, tmp_path / "token") as api:
        yield api


def test_the_token_is_the_one_word_of_its_file(api: WebApi, tmp_path: Path) -> None:
    assert api.token() == "secret"
    api.authorise(f"Token {api.token()}")
    assert api.get("/there", page=3) == {"detail": "a\nb"}
    assert Odd.asked == [("/there?page=3", "Token secret")]


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff\xfe", None])
def test_a_file_that_holds_no_token_is_one_line(
    api: WebApi, tmp_path: Path, content: bytes | None
) -> None:
    if content is None:
        (tmp_path / "token").unlink()
    else:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(ExportError, match=f"{tmp_path}/token") as caught:
        api.token()
    assert "\n" not in str(caught.value)
    assert "two words" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/away", r"sends on to http://127.0.0.1:9/else.*which is not followed; set url"),
        ("/page", r"gives an answer that is no JSON"),
        ("/missing", r'answers 404 to GET /missing: \{"detail": "a\\nb"\}\. It is tried again'),
        ("/deep", r"gives an answer that is no JSON"),
        ("/broken", r"answers 500 to GET /broken: Internal Server Error\. It is tried again"),
    ],
)
def test_whatever_goes_wrong_is_one_line(api: WebApi, path: str, message: str) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        api.get(path)
    assert str(caught.value).isprintable()


def test_a_token_that_the_server_repeats_is_not_shown(api: WebApi) -> None:
    api.authorise(f"Token {api.token()}")
    with pytest.raises(ExportError, match=r"Token \*\*\* is none") as caught:
        api.get("/echo")
    assert "secret" not in str(caught.value)


def test_a_token_that_cannot_be_sent_is_not_shown(api: WebApi, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"sec\0ret")
    with pytest.raises(ExportError, match="must hold the token") as caught:
        api.token()
    assert "sec" not in str(caught.value)
    with pytest.raises(ValueError, match="token") as given:
        api.authorise("Bearer sec\nret")
    assert "sec" not in str(given.value)


def test_what_is_not_there_is_deleted(api: WebApi) -> None:
    api.delete("/missing")
    assert json.dumps(Odd.asked) == '[["/missing", null]]'


def test_a_server_that_is_away_is_unreachable(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    server.server_close()
    url = f"http://127.0.0.1:{server.server_port}"
    message = r"is unreachable \(.*\); it is tried again at the next"
    with WebApi(url, tmp_path / "token") as api, pytest.raises(ExportError, match=message):
        api.get("/")


@pytest.mark.parametrize("url", ["http://", "http://[", "http://a b", "ftp://host"])
def test_an_address_that_is_none_is_one_line(tmp_path: Path, url: str) -> None:
    with WebApi(url, tmp_path / "token") as api, pytest.raises(ExportError, match="unreachable"):
        api.get("/")
