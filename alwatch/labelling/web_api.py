"""The server of a labelling tool: JSON over HTTP, one clear line for all that can go wrong.

Redirects are not followed, so that a token goes to no other server than the one of the settings;
nor are the proxies of the environment used.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import httpx

from alwatch.errors import ExportError, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_SHOWN_CHARACTERS = 200


class WebApi:
    """One server, as one person; connected while it is used as a context manager.

    Parameters
    ----------
    url : str
        Where the server is, without the path of its interface.
    token_file : Path
        A file that holds the person's token and nothing else.
    """

    def __init__(self, url: str, token_file: Path) -> None:
        self.url = url.rstrip("/")
        self._token_file = token_file
        self._secrets: set[str] = set()

    def __enter__(self) -> Self:
        self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=False)
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
            words = self._token_file.read_text(encoding="ascii").split()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no plain text"
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

    def post(self, path: str, content: Any, **params: str | int) -> Any:
        """Send JSON."""
        return self._request("POST", path, json=content, params=params)

    def send_file(
        self,
        path: str,
        field: str,
        file: Path,
        data: Mapping[str, str] | None = None,
        **params: str,
    ) -> Any:
        """Send a file as a form does."""
        with file.open("rb") as content:
            files = {field: (file.name, content)}
            return self._request("POST", path, files=files, data=data, params=params)

    def delete(self, path: str, content: Any = None) -> None:
        """Delete something; what is not there is deleted."""
        self._request("DELETE", path, json=content, missing_is_fine=True)

    def _request(
        self, method: str, path: str, *, missing_is_fine: bool = False, **content: Any
    ) -> Any:
        with self._explained():
            answer = self._client.request(method, f"{self.url}{path}", **content)
            if answer.status_code == httpx.codes.NOT_FOUND and missing_is_fine:
                return None
            self._check(method, path, answer)
            return answer.json() if answer.content else None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict) as error:
            reason = shown(str(error) or type(error).__name__)[:_SHOWN_CHARACTERS]
            raise ExportError(
                f"{self.url} is unreachable ({reason}); it is tried again at the next scan."
            ) from error
        except (ValueError, RecursionError) as error:
            raise ExportError(
                f"{self.url} gives an answer that is no JSON; see whether it is the address of "
                "the labelling tool."
            ) from error

    def _check(self, method: str, path: str, answer: httpx.Response) -> None:
        if answer.is_redirect:
            raise ExportError(
                f"{self.url} sends on to {self._hidden(answer.headers['location'])}, which is not "
                "followed; set url to where the labelling tool is."
            )
        detail = self._hidden(_detail(answer))
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

    def _hidden(self, text: str) -> str:
        """The beginning of what a server says, without the tokens that it may repeat."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return shown(text[:_SHOWN_CHARACTERS])


def _detail(answer: httpx.Response) -> str:
    """What the server says to a program, but not the page that it shows to a person."""
    is_json = "json" in answer.headers.get("content-type", "")
    return answer.text if is_json else answer.reason_phrase
