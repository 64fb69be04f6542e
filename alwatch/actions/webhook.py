"""`do: webhook`: the evidence as JSON, posted to an address.

The address that was checked is the one that is connected to; redirects and the proxies of the
environment are not followed. Of the address only the server is ever shown: what comes after it
may be as secret as a password.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from alwatch.actions.addresses import resolve
from alwatch.actions.disk import as_json, read_secret
from alwatch.errors import ActionError, shown

TIMEOUT_S = 5.0
_ANSWER_BYTES = 2**16
_SHOWN_CHARACTERS = 200
_SECRET_CHARACTERS = 5
"""Shorter parts of an address are words such as "hook"."""
_LONGEST_WAIT_S = 6 * 3600.0
_AGAIN = {408, 425, 429}  # too slow, too early, too many


class Webhook:
    """Posts the evidence; the header `Idempotency-Key` is the same at every attempt.

    With a secret, `X-Alwatch-Signature` is `t=SECONDS,v1=HEX`: HMAC-SHA256 over SECONDS, a dot,
    and the body.

    Parameters
    ----------
    url : str
    secret_file : str or Path, optional
        Holds the secret.
    allow_private : bool
        Whether it may lie in this machine or its own network.
    now_s : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        *,
        url: str,
        secret_file: str | Path | None = None,
        allow_private: bool = False,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._secret_file = None if secret_file is None else Path(secret_file)
        self._allow_private = allow_private
        self._now_s = now_s

    def deliver(self, key: str, evidence: dict[str, Any], workdir: Path) -> str:
        """Post it.

        Raises
        ------
        ActionError
            It was not taken; again where it may be taken later.
        """
        url = parsed(self._url)
        addresses = addresses_of(url, allow_private=self._allow_private)
        body = as_json(evidence)
        headers = self._headers(url, key, body)
        with httpx.Client(
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(),
        ) as client:
            reason: Exception = httpx.ConnectError("it has no address")
            for address in addresses:
                try:
                    return self._post(client, url, address, headers, body)
                except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                    reason = error
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    reason = error
                    break  # it may have been received
        raise self._unreachable(url, reason)

    def _headers(self, url: httpx.URL, key: str, body: bytes) -> dict[str, str]:
        headers = {
            "Host": url.netloc.decode(),
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",  # an answer that unfolds would be larger than it looks
            "User-Agent": "alwatch",
            "Idempotency-Key": key,
        }
        if self._secret_file is not None:
            secret, at_s = read_secret(self._secret_file).encode(), int(self._now_s())
            digest = hmac.new(secret, b"%d." % at_s + body, hashlib.sha256).hexdigest()
            headers["X-Alwatch-Signature"] = f"t={at_s},v1={digest}"
        return headers

    def _post(
        self,
        client: httpx.Client,
        url: httpx.URL,
        address: str,
        headers: dict[str, str],
        body: bytes,
    ) -> str:
        name = url.raw_host.decode()
        is_name = name != address
        with client.stream(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers=headers,
            extensions={"sni_hostname": name} if is_name else {},
        ) as answer:
            if answer.is_success:
                return f"{server_of_url(url)} answered {answer.status_code}"
            raise self._refused(url, answer)

    def _refused(self, url: httpx.URL, answer: httpx.Response) -> ActionError:
        status = answer.status_code
        said = f"{server_of_url(url)} answered {status}"
        if answer.has_redirect_location:
            return ActionError(
                f"{said}: it sends on to another address, which is not followed; set url to where "
                "the receiver is.",
                again=False,
            )
        said += f": {self._hidden(url, _beginning(answer))}"
        if status in _AGAIN or status >= 500:
            return ActionError(said, retry_after_s=self._retry_after_s(answer))
        return ActionError(said, again=False)

    def _retry_after_s(self, answer: httpx.Response) -> float | None:
        text = answer.headers.get("Retry-After", "")
        try:
            wait_s = float(text) if text.isdecimal() else self._until_s(text)
        except (ValueError, OverflowError):
            return None
        return min(max(wait_s, 0.0), _LONGEST_WAIT_S)

    def _until_s(self, date: str) -> float:
        return parsedate_to_datetime(date).timestamp() - self._now_s()

    def _unreachable(self, url: httpx.URL, error: Exception) -> ActionError:
        reason = self._hidden(url, str(error) or type(error).__name__)
        return ActionError(f"{server_of_url(url)} cannot be reached: {reason}.")

    def _hidden(self, url: httpx.URL, text: str) -> str:
        """The beginning of a text, without what is secret of the address."""
        words = [*url.params.values(), *url.path.split("/")]
        for secret in (url.password, *(word for word in words if len(word) >= _SECRET_CHARACTERS)):
            text = text.replace(secret, "***") if secret else text
        return shown(text[:_SHOWN_CHARACTERS])


def parsed(text: str) -> httpx.URL:
    """An address that can be posted to.

    Raises
    ------
    ActionError
        It is none.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ActionError(
            "url is no address; it must begin with http:// or https:// and name a server.",
            again=False,
        )
    return url


def addresses_of(url: httpx.URL, *, allow_private: bool) -> list[str]:
    """The addresses that may be connected to; raises as `resolve`."""
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    return resolve(url.raw_host.decode(), port, allow_private=allow_private)


def server_of_url(url: httpx.URL) -> str:
    """What may be shown of an address."""
    return shown(f"{url.scheme}://{url.netloc.decode()}")


def _beginning(answer: httpx.Response) -> str:
    """What a receiver says in plain text or JSON; a page for people is left out."""
    content, kind = b"", answer.headers.get("Content-Type", "")
    if "json" not in kind and "text/plain" not in kind:
        return answer.reason_phrase
    until_s = time.monotonic() + TIMEOUT_S
    with suppress(httpx.HTTPError):  # the status is known, and counts
        for chunk in answer.iter_raw():
            content += chunk
            if len(content) >= _ANSWER_BYTES or time.monotonic() > until_s:
                break
    return content[:_ANSWER_BYTES].decode("utf-8", "replace").strip()
