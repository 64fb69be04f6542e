from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.actions.addresses import is_public, resolve
from alwatch.errors import ActionError


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.0.1", "100.64.0.1",
        "169.254.169.254", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0",
        "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
        "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    ],
)  # fmt: skip
def test_addresses_of_ones_own_are_private_whatever_they_are_wrapped_in(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_wrapping_makes_no_private_address_public(address: IPv4Address) -> None:
    mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
    translated = IPv6Address(int(IPv6Address("64:ff9b::")) | int(address))
    assert is_public(str(mapped)) == is_public(str(address))
    assert is_public(str(translated)) <= is_public(str(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "::1"])
def test_every_way_to_write_this_machine_is_refused(host: str) -> None:
    with pytest.raises(ActionError, match="set allow_private") as caught:
        resolve(host, 80, allow_private=False)
    assert not caught.value.again


def test_this_machine_is_allowed_where_the_settings_say_so() -> None:
    assert resolve("127.0.0.1", 80, allow_private=True) == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300])
def test_a_name_without_address_may_have_one_later(host: str) -> None:
    with pytest.raises(ActionError, match="cannot be found") as caught:
        resolve(host, 80, allow_private=True)
    assert caught.value.again
