"""Small real servers: one takes posts, one takes mail. Both may speak TLS."""

from __future__ import annotations

import socketserver
import ssl
import subprocess
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@contextmanager
def running(server: socketserver.BaseServer) -> Iterator[None]:
    """Serve in a thread until the body ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def certificate(folder: Path, name: str) -> Path:
    """A certificate that vouches for itself, and its key, in one file."""
    file = folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
         "-keyout", file, "-out", folder / "own.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    with file.open("ab") as whole:
        whole.write((folder / "own.pem").read_bytes())
    return file


def context_of(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@dataclass
class Post:
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver(ThreadingHTTPServer):
    """Takes posts; `answers` is what the next ones get: (status, headers, body)."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Handler)
        self.posts: list[Post] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.sent_bytes = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append(Post(self.path, dict(self.headers), body))
        answers = self.server.answers
        status, headers, content = answers.pop(0) if answers else (200, {}, b"")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):  # enough was read
            for start in range(0, len(content), 4096):
                self.server.sent_bytes += self.wfile.write(content[start : start + 4096])

    def do_GET(self) -> None:
        self.server.posts.append(Post(self.path, dict(self.headers), b""))
        self.send_response(200)
        self.end_headers()


@dataclass
class MailServer:
    """Takes mail; the address with `refused` in it gets `code`."""

    context: ssl.SSLContext | None = None
    encrypted_at_once: bool = False
    code: int = 550
    host: str = "127.0.0.1"
    messages: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    logins: list[tuple[str, str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        mail = self

        class Session(_Session):
            def setup(self) -> None:
                self.mail = mail
                super().setup()

        self.server = socketserver.ThreadingTCPServer((self.host, 0), Session)
        self.server.daemon_threads = True

    @property
    def address(self) -> str:
        return f"{self.host}:{self.server.server_address[1]}"


class _Session(socketserver.StreamRequestHandler):
    mail: MailServer

    def setup(self) -> None:
        self.is_encrypted = False
        if self.mail.encrypted_at_once:
            self._encrypt(self.request)
        super().setup()

    def _encrypt(self, channel: Any) -> None:
        assert self.mail.context is not None
        self.request = self.mail.context.wrap_socket(channel, server_side=True)
        self.is_encrypted = True

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self) -> None:
        self._say("220 ready")
        while line := self.rfile.readline().decode().strip():
            command = line.split()[0].upper()
            if command == "EHLO":
                offers = ["250-here"]
                offers += ["250-STARTTLS"] if self.mail.context and not self.is_encrypted else []
                self._say("\r\n".join([*offers, "250 AUTH PLAIN"]))
            elif command == "STARTTLS":
                self._say("220 go on")
                self._encrypt(self.request)
                super().setup()
            elif command == "AUTH":
                _, user, password = b64decode(line.split()[2]).decode().split("\0")
                self.mail.logins.append((user, password, self.is_encrypted))
                is_right = password == "s3cret"
                self._say("235 welcome" if is_right else "535 who are you?")
            elif command == "RCPT":
                is_refused = "refused" in line
                if not is_refused:
                    self.mail.recipients.append(line.partition("<")[2].rstrip(">"))
                self._say(f"{self.mail.code} not this one" if is_refused else "250 ok")
            elif command == "DATA":
                self._say("354 go on")
                lines = iter(self.rfile.readline, b".\r\n")
                self.mail.messages.append(b"".join(lines))
                self._say("250 taken")
            elif command == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
