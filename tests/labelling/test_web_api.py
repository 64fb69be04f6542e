from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from alwatch.errors import ExportError
from alwatch.labelling import web_api
from alwatch.labelling.web_api import WebApi
from tests.labelling.fake_label_studio import running

OTHER = "127.0.0.2"


class Odd(BaseHTTPRequestHandler):
    """Answers as the path says; keeps what was asked."""

    asked: list[tuple[str, str | None]]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        type(self).asked.append((self.path, self.headers["Authorization"]))
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", f"http://{OTHER}:{self.server.server_address[1]}/else")
            self.end_headers()
            return
        if self.path in ("/endless", "/packed"):
            return self.send_much()
        if self.path.startswith("/pages"):
            return self.send_page()
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

    def send_much(self) -> None:
        """A list that does not end, until nobody listens; or a small file that becomes one."""
        self.send_response(200)
        if self.path == "/packed":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(gzip.compress(bytes(1 << 24)) if self.path == "/packed" else b"[")
        with suppress(OSError):
            while self.path == "/endless":
                self.wfile.write(b"1," * 50_000)

    def send_page(self) -> None:
        """A page of three; `/pages` has no last one."""
        page = int(parse_qs(urlsplit(self.path).query)["page"][0])
        is_last = page == 3 and not self.path.startswith("/pages?")
        body: dict[str, Any] = {"results": [page], "next": None if is_last else "there"}
        if self.path.startswith("/pages/counted"):
            body = {"results": [page], "total": 3}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


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
        ("/away", r"sends on to http://127\.0\.0\.2:\d+/else, which is not followed; set url"),
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


def test_no_other_server_gets_the_token(api: WebApi) -> None:
    api.authorise(f"Token {api.token()}")
    with pytest.raises(ExportError, match="which is not followed"):
        api.get("/away")
    assert Odd.asked == [("/away", "Token secret")]


def test_an_answer_without_an_end_is_not_waited_for(
    api: WebApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_api, "_LARGEST_ANSWER_BYTES", 1 << 20)
    with pytest.raises(ExportError, match="gives an answer of more than 1 MB"):
        api.get("/endless")
    monkeypatch.setattr(web_api, "_LONGEST_ANSWER_S", 0.0)
    with pytest.raises(ExportError, match="has not come to the end of an answer in 0 s"):
        api.get("/endless")


def test_a_packed_answer_is_not_unpacked(api: WebApi) -> None:
    with pytest.raises(ExportError, match="packs its answer though it was asked not to"):
        api.get("/packed")


@pytest.mark.parametrize("path", ["/pages/linked", "/pages/counted"])
def test_a_list_is_read_to_its_last_page(api: WebApi, path: str) -> None:
    assert list(api.pages(path, "results")) == [1, 2, 3]
    assert len(Odd.asked) == 3


def test_a_list_without_a_last_page_is_given_up(
    api: WebApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_api, "_MOST_PAGES", 5)
    with pytest.raises(ExportError, match="without an end: 5 results on 5 pages"):
        list(api.pages("/pages", "results"))
    assert len(Odd.asked) == 5


def test_an_answer_of_another_shape_is_one_line_without_the_token(api: WebApi) -> None:
    api.authorise(f"Token {api.token()}")
    message = r"is not CVAT's \(KeyError\('its \*\*\*'\)\); see .* version 2 or newer"
    with pytest.raises(ExportError, match=message), api.understood("CVAT", "2"):
        raise KeyError("its secret")


@pytest.mark.parametrize("name", ["user:pass@", "user:pa/ss@", "pass@"])
def test_a_password_in_the_address_is_neither_sent_nor_shown(
    api: WebApi, tmp_path: Path, name: str
) -> None:
    with WebApi(api.url.replace("//", f"//{name}"), tmp_path / "token") as other:
        assert other.url == api.url
        other.authorise(f"Token {other.token()}")
        with pytest.raises(ExportError) as caught:
            other.get("/broken")
    assert "pass" not in str(caught.value)
    assert Odd.asked == [("/broken", "Token secret")]


def test_a_token_file_that_is_a_pipe_is_one_line(api: WebApi, tmp_path: Path) -> None:
    (tmp_path / "token").unlink()
    os.mkfifo(tmp_path / "token")
    with pytest.raises(ExportError, match="token: it is a pipe, not a file"):
        api.token()


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
