from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from alwatch.actions import mail
from alwatch.actions.mail import Mail, server_of, text_of
from alwatch.errors import ActionError
from tests.actions.helpers import EVIDENCE, KEY, program
from tests.actions.receivers import MailServer, certificate, context_of, running

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SENDER = "alwatch@lab.example"


def read(message: bytes) -> EmailMessage:
    return BytesParser(EmailMessage, policy=default).parsebytes(message)


@pytest.fixture
def server() -> Iterator[MailServer]:
    taking = MailServer()
    with running(taking.server):
        yield taking


def send(workdir: Path, evidence: dict[str, Any] = EVIDENCE, **settings: Any) -> str:
    given = {"to": ["lab@lab.example"], "sender": SENDER, "now": lambda: NOW} | settings
    return Mail(**given).deliver(KEY, evidence, workdir)


def refusal(workdir: Path, **settings: Any) -> ActionError:
    with pytest.raises(ActionError) as caught:
        send(workdir, **settings)
    return caught.value


def test_people_read_why_and_find_the_evidence(server: MailServer, tmp_path: Path) -> None:
    assert send(tmp_path, smtp=server.address) == "sent to lab@lab.example"
    message = read(server.messages[0])
    assert (message["From"], message["To"]) == (SENDER, "lab@lab.example")
    assert message["Subject"] == "alwatch: retrain for 2026"
    assert message["Message-ID"] == f"<{KEY}@lab.example>"
    assert message["Date"].datetime == NOW
    text, attachment = message.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert text.get_content().startswith(EVIDENCE["reason"])
    assert attachment.get_filename() == "evidence.json"
    assert json.loads(attachment.get_content()) == EVIDENCE


def test_the_text_is_short_and_says_how_to_see_more() -> None:
    assert text_of(EVIDENCE) == (
        "60 labels of season 2026 are unknown to the pose model\n\n"
        "Season 2026\n  videos: 3\n  coverage: 0.25\n  error_px: 7.5\n\n"
        "The attached file holds all that led to this. To see more:\n"
        "  alwatch triggers show retrain-7-0a1b2c3d\n  alwatch seasons\n"
    )


def test_a_repeat_has_the_same_message_id(server: MailServer, tmp_path: Path) -> None:
    for _ in range(2):
        send(tmp_path, smtp=server.address)
    first, second = map(read, server.messages)
    assert first["Message-ID"] == second["Message-ID"]


def test_a_season_cannot_add_headers_or_recipients(server: MailServer, tmp_path: Path) -> None:
    evil = EVIDENCE | {"seasons": ["x\r\nBcc: evil@evil.example\r\n\r\nhello"], "rule": "a\nb: c"}
    send(tmp_path, evil, smtp=server.address)
    message = read(server.messages[0])
    assert message["Bcc"] is None and message["b"] is None
    assert message["Subject"].startswith(r"alwatch: a\nb: c for x\r\nBcc: evil")
    assert server.recipients == ["lab@lab.example"]


@pytest.mark.parametrize("settings", [{"sender": "a@b\nBcc: c@d"}, {"to": ["a@b\r\nBcc: c@d"]}])
def test_an_address_cannot_add_headers(tmp_path: Path, settings: dict[str, Any]) -> None:
    error = refusal(tmp_path, smtp="127.0.0.1:9", **settings)
    assert not error.again
    assert "must be mail addresses" in str(error)


def test_names_beyond_ascii_arrive(server: MailServer, tmp_path: Path) -> None:
    send(tmp_path, EVIDENCE | {"seasons": ["été 2026"]}, smtp=server.address)
    message = read(server.messages[0])
    assert message["Subject"] == "alwatch: retrain for été 2026"
    assert "été 2026" in next(message.iter_parts()).get_content()


def test_one_refused_recipient_does_not_hold_the_others_up(
    server: MailServer, tmp_path: Path
) -> None:
    outcome = send(tmp_path, smtp=server.address, to=["a@lab.example", "refused@lab.example"])
    assert outcome == "sent to a@lab.example; refused: refused@lab.example"
    assert server.recipients == ["a@lab.example"]


@pytest.mark.parametrize(("code", "again"), [(450, True), (550, False)])
def test_4xx_is_tried_again_and_5xx_is_not(
    server: MailServer, tmp_path: Path, code: int, again: bool
) -> None:
    server.code = code
    error = refusal(tmp_path, smtp=server.address, to=["refused@lab.example"])
    assert error.again == again
    assert f"refuses refused@lab.example ({code})" in str(error)


def test_nobody_there_is_tried_again(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = refusal(tmp_path, smtp=f"127.0.0.1:{taken.getsockname()[1]}")
    assert error.again
    assert "Connection refused" in str(error)


@pytest.fixture
def encrypting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MailServer:
    file = certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
    (tmp_path / "secret").write_text("s3cret\n")
    return MailServer(context=context_of(file))


def at_its_name(server: MailServer) -> str:
    return server.address.replace("127.0.0.1", "localhost")


def test_starttls_is_used_where_it_is_offered(encrypting: MailServer, tmp_path: Path) -> None:
    with running(encrypting.server):
        sender = f"The rig <{SENDER}>"
        address, secret = at_its_name(encrypting), tmp_path / "secret"
        send(tmp_path, sender=sender, smtp=address, secret_file=secret)
    assert encrypting.logins == [(SENDER, "s3cret", True)]
    assert read(encrypting.messages[0])["Message-ID"] == f"<{KEY}@lab.example>"


def test_on_the_port_of_smtps_the_connection_is_encrypted_at_once(
    encrypting: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypting.encrypted_at_once = True
    monkeypatch.setattr(mail, "_SMTPS", encrypting.server.server_address[1])
    with running(encrypting.server):
        send(tmp_path, smtp=at_its_name(encrypting), secret_file=tmp_path / "secret")
    assert encrypting.logins == [(SENDER, "s3cret", True)]


def test_a_certificate_of_another_name_is_refused_before_anything_is_said(
    encrypting: MailServer, tmp_path: Path
) -> None:
    with running(encrypting.server):
        error = refusal(tmp_path, smtp=encrypting.address, secret_file=tmp_path / "secret")
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    assert not encrypting.logins and not encrypting.messages


def test_a_wrong_password_is_not_tried_again_and_not_shown(
    encrypting: MailServer, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("wr0ng\n")
    with running(encrypting.server):
        error = refusal(tmp_path, smtp=at_its_name(encrypting), secret_file=tmp_path / "secret")
    assert not error.again
    assert "answers 535" in str(error) and "wr0ng" not in str(error)


def own_address() -> str:
    """An address of this machine by which others reach it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect(("198.51.100.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no network")
        return str(channel.getsockname()[0])


def test_a_password_is_not_sent_unencrypted_to_another_machine(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    server = MailServer(host=own_address())
    with running(server.server):
        error = refusal(tmp_path, smtp=server.address, secret_file=tmp_path / "secret")
    assert "offers no encryption" in str(error)
    assert not server.logins


def test_without_smtp_the_mail_is_handed_to_sendmail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "sendmail", f'echo "$@" > {tmp_path}/asked; cat > {tmp_path}/mail')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    outcome = send(tmp_path, to=["a@lab.example", "-b@lab.example"])
    assert outcome == "handed to sendmail for a@lab.example, -b@lab.example"
    assert (tmp_path / "asked").read_text() == "-t -i\n"
    content = (tmp_path / "mail").read_bytes()
    assert b"\r\n" not in content
    assert read(content)["To"] == "a@lab.example, -b@lab.example"


def test_a_sendmail_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "sendmail", "cat > /dev/null; echo queue full >&2; exit 75")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    error = refusal(tmp_path)
    assert error.again
    assert "exit status 75: queue full" in str(error)


def test_a_system_without_sendmail_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mail, "_SENDMAIL_FOLDERS", str(tmp_path))
    assert "set smtp to the host:port" in str(refusal(tmp_path))


@pytest.mark.parametrize(
    ("address", "server"),
    [("h", ("h", 25)), ("mail.example:587", ("mail.example", 587)), ("[::1]:465", ("::1", 465))],
)
def test_host_and_port_are_told_apart(address: str, server: tuple[str, int]) -> None:
    assert server_of(address) == server


@pytest.mark.parametrize("address", ["h:x", "h:99999", ":25", "a@b:25", "smtp://h:25", "h/x"])
def test_what_is_no_server_is_refused(address: str) -> None:
    with pytest.raises(ActionError, match="must be host:port"):
        server_of(address)
