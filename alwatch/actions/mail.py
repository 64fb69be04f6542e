"""`do: mail`: a message to people, with the evidence attached."""

from __future__ import annotations

import os
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from alwatch.actions.command import last_line
from alwatch.actions.disk import as_json, read_secret
from alwatch.errors import ActionError, shown

TIMEOUT_S = 20.0
_SMTP, _SMTPS = 25, 465
_SENDMAIL_FOLDERS = "/usr/sbin:/usr/lib:/usr/local/sbin"


def utc_now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)


class Mail:
    """Sends a message, by a server or by the system's sendmail.

    Its Message-ID is made of the key, so that a repeat is known as one.

    Parameters
    ----------
    to : sequence of str
    sender : str
    smtp : str, optional
        host:port; on 465 the connection is encrypted from its start, elsewhere as soon as the
        server offers it. By default sendmail.
    secret_file : str or Path, optional
        Holds the sender's password for the server.
    now : callable
        The time of day.
    """

    def __init__(
        self,
        *,
        to: Sequence[str],
        sender: str,
        smtp: str | None = None,
        secret_file: str | Path | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._to = list(to)
        self._sender = sender
        self._smtp = smtp
        self._secret_file = None if secret_file is None else Path(secret_file)
        self._now = now

    def deliver(self, key: str, evidence: dict[str, Any], workdir: Path) -> str:
        """Send it.

        Raises
        ------
        ActionError
            It was not taken by the first server on its way.
        """
        message = self._compose(key, evidence)
        if self._smtp is None:
            _hand_to_sendmail(message)
            return f"handed to sendmail for {', '.join(map(shown, self._to))}"
        with self._connected(self._smtp) as server:
            refused = server.send_message(message, self._sender, self._to)
        taken = [each for each in self._to if each not in refused]
        sentence = f"sent to {', '.join(map(shown, taken))}"
        return sentence + (f"; refused: {', '.join(map(shown, refused))}" if refused else "")

    def _compose(self, key: str, evidence: dict[str, Any]) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        seasons = ", ".join(map(shown, evidence.get("seasons", ())))
        domain = parseaddr(self._sender)[1].rpartition("@")[2] or "alwatch"
        try:
            message["From"] = self._sender
            message["To"] = ", ".join(self._to)
            message["Subject"] = f"alwatch: {shown(evidence.get('rule', 'a rule'))} for {seasons}"
            message["Date"] = format_datetime(self._now())
            message["Message-ID"] = f"<{key}@{domain}>"
            message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        except (ValueError, IndexError) as error:  # a line break, among others
            raise ActionError(
                f"to is {shown(', '.join(self._to))} and sender {shown(self._sender)}; they must "
                f"be mail addresses ({shown(error)}). Correct them.",
                again=False,
            ) from error
        message.set_content(text_of(evidence))
        message.add_attachment(
            as_json(evidence), maintype="application", subtype="json", filename="evidence.json"
        )
        return message

    @contextmanager
    def _connected(self, address: str) -> Iterator[smtplib.SMTP]:
        host, port = server_of(address)
        try:
            with _open(host, port) as server:
                if self._secret_file is not None:
                    self._log_in(server, address)
                yield server
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            who = ", ".join(map(shown, error.recipients))
            again = any(code < 500 for code in codes)
            raise ActionError(
                f"{shown(address)} refuses {who} ({codes[0]}).", again=again
            ) from None
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error
            text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
            raise ActionError(
                f"{shown(address)} answers {error.smtp_code}: {shown(text[:200])}.",
                again=error.smtp_code < 500,
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            raise ActionError(f"{shown(address)} takes no mail: {shown(error)}.") from error

    def _log_in(self, server: smtplib.SMTP, address: str) -> None:
        assert self._secret_file is not None and server.sock is not None
        password = read_secret(self._secret_file)
        is_local = ip_address(server.sock.getpeername()[0].partition("%")[0]).is_loopback
        if not (isinstance(server.sock, ssl.SSLSocket) or is_local):
            raise ActionError(
                f"{shown(address)} offers no encryption, so the password in "
                f"{shown(self._secret_file)} is not sent to it; use its port for SMTPS (465) or "
                "STARTTLS (587)."
            )
        server.login(parseaddr(self._sender)[1], password)


def _open(host: str, port: int) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if port == _SMTPS:
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=context)
    server = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
    try:
        server.ehlo_or_helo_if_needed()
        if server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
    except BaseException:
        server.close()
        raise
    return server


def server_of(address: str) -> tuple[str, int]:
    """Host and port of `host:port`; without a port it is 25.

    Raises
    ------
    ActionError
        It is neither.
    """
    with suppress(ValueError):
        parts = urlsplit(f"//{address}")
        if parts.hostname and parts.netloc == address and "@" not in address:
            return parts.hostname, parts.port or _SMTP
    raise ActionError(
        f"smtp is {shown(address)}; it must be host:port. Correct it.",
        again=False,
    )


def find_sendmail() -> str:
    """Where the system's sendmail is.

    Raises
    ------
    ActionError
        It has none.
    """
    found = shutil.which("sendmail", path=f"{os.environ.get('PATH', '')}:{_SENDMAIL_FOLDERS}")
    if found is None:
        raise ActionError(
            "This system has no sendmail to hand mail to; set smtp to the host:port of a server."
        )
    return found


def _hand_to_sendmail(message: EmailMessage) -> None:
    program = find_sendmail()
    done = subprocess.run(
        [program, "-t", "-i"],
        input=message.as_bytes(policy=message.policy.clone(linesep="\n")),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # some go on with the delivery after they have answered
        check=False,
    )
    if done.returncode:
        raise ActionError(
            f"{program} ended with exit status {done.returncode}: {last_line(done.stdout)}"
        )


def text_of(evidence: dict[str, Any]) -> str:
    """What a person reads: why, the seasons with their figures, and where more is to be seen."""
    lines = [shown(evidence.get("reason", "")), ""]
    figures = evidence.get("figures")
    for season in evidence.get("seasons", ()):
        lines.append(f"Season {shown(season)}")
        of_season = figures.get(season) if isinstance(figures, dict) else None
        lines += _figures(of_season) if isinstance(of_season, dict) else []
        lines.append("")
    lines.append("The attached file holds all that led to this. To see more:")
    lines += [f"  alwatch triggers show {shown(evidence.get('key', 'KEY'))}", "  alwatch seasons"]
    return "\n".join(lines) + "\n"


def _figures(figures: dict[str, Any]) -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, dict) and "mean" in value:
            value = value["mean"]
        if isinstance(value, float):
            value = f"{value:.3g}"
        if isinstance(value, (int, str)) and value != "":
            yield f"  {shown(name)}: {shown(value)}"
