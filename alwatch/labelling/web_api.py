"""The server of a labelling tool: JSON over HTTP, one clear line for all that can go wrong.

Redirects are not followed, so that a token goes to no other server than the one of the settings;
nor are the proxies of the environment used. What a server may send is limited, and asked for
uncompressed, so that the limit holds for what becomes of it.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import httpx

from alwatch.errors import ExportError, shown
from alwatch.labelling.label_file import read_label_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_SHOWN_CHARACTERS = 200
_PAGE = 100
_MOST_PAGES = 1000
"""A hundred thousand tasks; a server that never says that a page is the last has to end too."""
_LARGEST_ANSWER_BYTES = 1 << 26
"""A page of a hundred tasks takes a thirtieth of this."""
_LONGEST_ANSWER_S = 600.0
_LARGEST_TOKEN_BYTES = 1 << 16


class WebApi:
    """One server, as one person; connected while it is used as a context manager.

    Parameters
    ----------
    url : str
        Where the server is, without the path of its interface. A name and a password in it are
        neither sent nor shown: the token is what says who asks.
    token_file : Path
        A file that holds the person's token and nothing else.
    """

    def __init__(self, url: str, token_file: Path) -> None:
        self.url = _without_credentials(url).rstrip("/")
        self._token_file = token_file
        self._secrets: set[str] = set()

    def __enter__(self) -> Self:
        self._client = httpx.Client(
            timeout=_TIMEOUT,
            follow_redirects=False,
            trust_env=False,
            headers={"Accept-Encoding": "identity"},
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()

    def token(self) -> str:
        """Read the token.

        Raises
        ------
        ExportError
            The file is not there, or does not hold one word.
        """
        try:
            content = read_label_file(self._token_file, largest_bytes=_LARGEST_TOKEN_BYTES)
            words = content.decode("ascii").split()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            if isinstance(error, UnicodeError):
                reason = "it is no plain text"
            raise ExportError(
                f"The token for {self.url} is to be read from {self._token_file}: {reason}. "
                "Put the token there, readable for this user."
            ) from None
        if len(words) != 1 or not words[0].isprintable():
            raise ExportError(
                f"{self._token_file} must hold the token for {self.url} and nothing else; it "
                f"holds {len(words)} words, or signs that are no text. Correct it."
            )
        self._secrets.add(words[0])
        return words[0]

    def authorise(self, authorization: str) -> None:
        """Send this header from now on.

        Raises
        ------
        ValueError
            It cannot be sent; httpx would show it in its message.
        """
        if not (authorization.isascii() and authorization.isprintable()):
            raise ValueError("a token that is no plain text")
        self._secrets.add(authorization.split()[-1])
        self._client.headers["Authorization"] = authorization

    def get(self, path: str, **params: str | int) -> Any:
        """Ask for something; returns what the JSON says."""
        return self._request("GET", path, params=params)

    def pages(self, path: str, items: str, **params: str | int) -> Iterator[Any]:
        """Ask for all that a list holds, page by page; `items` names it in each page.

        The last page has nothing in `next`, or the `total` has come.

        Raises
        ------
        ExportError
            There is no last page.
        """
        n_seen = 0
        for page in range(1, _MOST_PAGES + 1):
            found = self.get(path, page=page, page_size=_PAGE, **params)
            yield from found[items]
            n_seen += len(found[items])
            is_last = not found["next"] if "next" in found else n_seen >= found["total"]
            if is_last or not found[items]:
                return
        raise ExportError(
            f"{self.url} lists {path} without an end: {n_seen} {items} on {_MOST_PAGES} pages, and "
            "more to come. See whether it is the address of the labelling tool."
        )

    def post(
        self,
        path: str,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        **params: str | int,
    ) -> Any:
        """Send JSON."""
        return self._request("POST", path, json=content, headers=headers, params=params)

    def put(self, path: str, content: Any) -> None:
        """Send JSON in place of what is there."""
        self._request("PUT", path, json=content)

    def patch(self, path: str, content: Any) -> None:
        """Send JSON that changes a part of what is there."""
        self._request("PATCH", path, json=content)

    def send_file(
        self,
        path: str,
        field: str,
        file: Path,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **params: str,
    ) -> Any:
        """Send a file as a form does."""
        with file.open("rb") as content:
            files = {field: (file.name, content)}
            return self._request(
                "POST", path, files=files, data=data, headers=headers, params=params
            )

    def delete(self, path: str, content: Any = None) -> None:
        """Delete something; what is not there is deleted."""
        self._request("DELETE", path, json=content, missing_is_fine=True)

    @contextmanager
    def understood(self, tool: str, version: str) -> Iterator[None]:
        """Turn an answer of another shape than the tool's own into one line."""
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise ExportError(
                f"{self.url} gives an answer that is not {tool}'s "
                f"({self.hidden(repr(error))}); see whether it is its address, and of version "
                f"{version} or newer."
            ) from error

    def _request(
        self, method: str, path: str, *, missing_is_fine: bool = False, **content: Any
    ) -> Any:
        with (
            self._explained(),
            self._client.stream(method, f"{self.url}{path}", **content) as answer,
        ):
            body = self._body(answer)
            if answer.status_code == httpx.codes.NOT_FOUND and missing_is_fine:
                return None
            self._check(method, path, answer, body)
            return json.loads(body) if body else None

    def _body(self, answer: httpx.Response) -> bytes:
        """What is sent, as it is sent: nothing is unpacked, so nothing can be larger than this."""
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise ExportError(
                f"{self.url} packs its answer though it was asked not to; switch that off for "
                "requests that bear 'Accept-Encoding: identity'."
            )
        body = bytearray()
        begun_s = time.monotonic()
        for part in answer.iter_raw():
            body += part
            if len(body) > _LARGEST_ANSWER_BYTES:
                raise ExportError(
                    f"{self.url} gives an answer of more than {_LARGEST_ANSWER_BYTES >> 20} MB, "
                    "which is not read; see whether it is the address of the labelling tool."
                )
            if time.monotonic() - begun_s > _LONGEST_ANSWER_S:
                raise ExportError(
                    f"{self.url} has not come to the end of an answer in {_LONGEST_ANSWER_S:g} s; "
                    "it is tried again at the next scan."
                )
        return bytes(body)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict) as error:
            reason = self.hidden(str(error) or type(error).__name__)
            raise ExportError(
                f"{self.url} is unreachable ({reason}); it is tried again at the next scan."
            ) from error
        except (ValueError, RecursionError) as error:
            raise ExportError(
                f"{self.url} gives an answer that is no JSON; see whether it is the address of "
                "the labelling tool."
            ) from error

    def _check(self, method: str, path: str, answer: httpx.Response, body: bytes) -> None:
        if answer.is_redirect:
            where = self.hidden(answer.headers.get("location", "nowhere"))
            raise ExportError(
                f"{self.url} sends on to {where}, which is not followed; set url to where the "
                "labelling tool is."
            )
        detail = self.hidden(_detail(answer, body))
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise ExportError(
                f"{self.url} does not accept the token in {self._token_file} "
                f"({answer.status_code}: {detail}); put another one there."
            )
        if answer.is_error:
            raise ExportError(
                f"{self.url} answers {answer.status_code} to {method} {path}: {detail}. "
                "It is tried again at the next scan."
            )

    def hidden(self, text: str) -> str:
        """The beginning of what a server says, without the tokens that it may repeat."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return shown(text[:_SHOWN_CHARACTERS])


def _without_credentials(url: str) -> str:
    """An address without the `name:password@` that it may begin with."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def _detail(answer: httpx.Response, body: bytes) -> str:
    """What the server says to a program, but not the page that it shows to a person."""
    is_json = "json" in answer.headers.get("content-type", "")
    return body.decode(errors="replace") if is_json else answer.reason_phrase
