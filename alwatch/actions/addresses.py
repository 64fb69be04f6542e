"""Which addresses a name stands for, and whether they may be connected to."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from alwatch.errors import ActionError, shown

_NAT64 = IPv6Network("64:ff9b::/96")


def resolve(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The addresses of a host, to be connected to as they are: a second look might give others.

    Raises
    ------
    ActionError
        There are none; or one lies in this machine or its own network, and that is not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ActionError(f"The address of {shown(host)} cannot be found: {reason}.") from error
    addresses = list(dict.fromkeys(str(place[4][0]) for place in found))
    private = [address for address in addresses if not is_public(address)]
    if private and not allow_private:
        raise ActionError(
            f"{shown(host)} is {private[0]}, an address of this machine or its own network; set "
            "allow_private if that is meant.",
            again=False,
        )
    return addresses


def is_public(address: str) -> bool:
    """Whether an address lies in the internet, whatever it is wrapped in."""
    return all(each.is_global and not each.is_multicast for each in _unwrapped(ip_address(address)))


def _unwrapped(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address that packets go to in the end, and all that it is wrapped in."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    inner: list[IPv4Address | IPv6Address] = [address]
    if address.sixtofour is not None:
        inner.append(address.sixtofour)
    if address.teredo is not None:
        inner += address.teredo
    if address in _NAT64:
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return inner
