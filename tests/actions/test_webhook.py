from __future__ import annotations

import hashlib
import hmac
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from alwatch.actions import webhook
from alwatch.actions.webhook import Webhook
from alwatch.errors import ActionError
from tests.actions.helpers import EVIDENCE, KEY
from tests.actions.receivers import Receiver, certificate, context_of, running

NOW_S = 1_790_000_000


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    with running(server):
        yield server


def post(url: str, tmp_path: Path, **settings: Any) -> str:
    given = {"allow_private": True, "now_s": lambda: NOW_S + 0.7} | settings
    return Webhook(url=url, **given).deliver(KEY, EVIDENCE, tmp_path)


def refusal(url: str, tmp_path: Path, **settings: Any) -> ActionError:
    with pytest.raises(ActionError) as caught:
        post(url, tmp_path, **settings)
    return caught.value


def test_the_evidence_is_posted_as_json_under_its_key(receiver: Receiver, tmp_path: Path) -> None:
    assert post(receiver.url, tmp_path) == f"{receiver.url.removesuffix('/hook')} answered 200"
    (seen,) = receiver.posts
    assert seen.path == "/hook"
    assert json.loads(seen.body) == EVIDENCE
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["Idempotency-Key"] == KEY
    assert "X-Alwatch-Signature" not in seen.headers


def test_a_repeat_is_the_same_to_the_byte(receiver: Receiver, tmp_path: Path) -> None:
    post(receiver.url, tmp_path)
    post(receiver.url, tmp_path)
    first, second = receiver.posts
    assert (first.headers, first.body) == (second.headers, second.body)


def test_a_receiver_can_verify_the_signature(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("tr0ub4dor\n")
    post(receiver.url, tmp_path, secret_file=tmp_path / "secret")
    (seen,) = receiver.posts
    expected = hmac.new(b"tr0ub4dor", b"1790000000." + seen.body, hashlib.sha256).hexdigest()
    assert seen.headers["X-Alwatch-Signature"] == f"t={NOW_S},v1={expected}"


def test_without_its_secret_nothing_is_posted(receiver: Receiver, tmp_path: Path) -> None:
    error = refusal(receiver.url, tmp_path, secret_file=tmp_path / "absent")
    assert "absent: No such file" in str(error)
    assert not receiver.posts


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_is_delivered(receiver: Receiver, tmp_path: Path, status: int) -> None:
    receiver.answers = [(status, {}, b"")]
    assert post(receiver.url, tmp_path).endswith(f"answered {status}")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again(receiver: Receiver, tmp_path: Path, status: int) -> None:
    receiver.answers = [(status, {}, b"")]
    error = refusal(receiver.url, tmp_path)
    assert (error.again, error.retry_after_s) == (True, None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 422])
def test_what_is_refused_is_not_tried_again(
    receiver: Receiver, tmp_path: Path, status: int
) -> None:
    receiver.answers = [(status, {"Content-Type": "application/json"}, b'{"error": "no"}')]
    error = refusal(receiver.url, tmp_path)
    assert not error.again
    assert f'answered {status}: {{"error": "no"}}' in str(error)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("120", 120),
        ("999999", 6 * 3600),
        ("9" * 400, 6 * 3600),
        (format_datetime(datetime.fromtimestamp(NOW_S + 90, UTC), usegmt=True), 89.3),
        (format_datetime(datetime.fromtimestamp(NOW_S - 90, UTC), usegmt=True), 0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_kept_to(
    receiver: Receiver, tmp_path: Path, header: str, wait_s: float | None
) -> None:
    receiver.answers = [(503, {"Retry-After": header}, b"")]
    error = refusal(receiver.url, tmp_path)
    assert error.retry_after_s == (wait_s and pytest.approx(wait_s))


def test_a_redirect_is_not_followed(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [(307, {"Location": receiver.url + "/other?token=xyz"}, b"")]
    error = refusal(receiver.url, tmp_path)
    assert not error.again
    assert "another address, which is not followed" in str(error)
    assert "xyz" not in str(error)
    assert [seen.path for seen in receiver.posts] == ["/hook"]


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_of_an_endless_answer_little_is_read(receiver: Receiver, tmp_path: Path, kind: str) -> None:
    receiver.answers = [(500, {"Content-Type": kind}, b"x" * 50_000_000)]
    error = refusal(receiver.url, tmp_path)
    assert len(str(error)) < 400
    assert receiver.sent_bytes < 20_000_000  # what the two sockets may hold, and no more


def test_a_page_for_people_is_not_shown(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [(404, {"Content-Type": "text/html"}, b"<html>long</html>")]
    assert "html" not in str(refusal(receiver.url, tmp_path))


def test_nobody_there_is_tried_again(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/hook"
        error = refusal(url, tmp_path)
    assert error.again
    assert "cannot be reached" in str(error)


def test_a_receiver_that_says_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        error = refusal(f"http://127.0.0.1:{silent.getsockname()[1]}/hook", tmp_path)
    assert error.again
    assert "timed out" in str(error)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_refused_unless_it_is_allowed(
    receiver: Receiver, tmp_path: Path, host: str
) -> None:
    url = receiver.url.replace("127.0.0.1", host)
    error = refusal(url, tmp_path, allow_private=False)
    assert not error.again
    assert "set allow_private" in str(error)
    assert not receiver.posts


class Names:
    """Gives a name other addresses at each look, as one who is after this machine would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **addresses: list[list[str]]) -> None:
        self.looks: list[str] = []
        self._addresses = addresses
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in self._addresses:
            return self._real(host, port, *rest, **options)
        self.looks.append(name)
        found = self._addresses[name].pop(0)
        return [each for a in found for each in self._real(a, port, *rest, **options)]


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Receiver("127.0.0.2")
    names = Names(monkeypatch, hook=[["127.0.0.1"], ["127.0.0.2"]])
    with running(other):
        post(f"http://hook:{receiver.server_port}/x", tmp_path)
    assert names.looks == ["hook"]
    assert not other.posts
    assert receiver.posts[0].headers["Host"] == f"hook:{receiver.server_port}"


def test_a_name_with_one_private_address_among_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, hook=[["8.8.8.8", "127.0.0.1"]])
    error = refusal("http://hook/x", tmp_path, allow_private=False)
    assert "hook is 127.0.0.1" in str(error)


def test_where_one_address_is_dead_the_next_is_tried(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, hook=[["127.0.0.2", "127.0.0.1"]])
    assert "answered 200" in post(f"http://hook:{receiver.server_port}/x", tmp_path)


def test_the_certificate_must_be_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, "hook.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
    server = Receiver()
    server.socket = context_of(file).wrap_socket(server.socket, server_side=True)
    here = [["127.0.0.1"]]
    Names(monkeypatch, **{"hook.example": here, "other.example": [["127.0.0.1"]]})
    with running(server):
        url = f"https://hook.example:{server.server_port}/x"
        assert post(url, tmp_path).endswith("answered 200")
        error = refusal(url.replace("hook.", "other."), tmp_path)
    assert error.again
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    assert len(server.posts) == 1


def test_the_proxies_of_the_environment_are_not_used(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert "answered 200" in post(receiver.url, tmp_path)


@pytest.mark.parametrize("status", [200, 403, 500])
def test_a_password_in_the_address_is_sent_but_never_shown(
    receiver: Receiver, tmp_path: Path, status: int
) -> None:
    secrets = ("pa55word", "T0ken", "query5ecret")
    answer = " ".join(secrets).encode()
    receiver.answers = [(status, {"Content-Type": "text/plain"}, answer)]
    port = receiver.server_port
    url = f"http://ana:pa55word@127.0.0.1:{port}/T0ken?key=query5ecret"
    try:
        said = post(url, tmp_path)
    except ActionError as error:
        said = str(error)
    assert receiver.posts[0].headers["Authorization"].startswith("Basic ")
    assert not [secret for secret in secrets if secret in said]
    assert f"http://127.0.0.1:{port} answered {status}" in said


@pytest.mark.parametrize("url", ["ftp://host/x", "http://", "http:///x", "host", "http://a:b:c/"])
def test_what_is_no_address_is_said_without_showing_it(tmp_path: Path, url: str) -> None:
    error = refusal(url, tmp_path)
    assert not error.again
    assert "must begin with http:// or https://" in str(error)
