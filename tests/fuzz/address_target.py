"""Whatever X-Forwarded-For says, nobody is counted by an address of their own invention.

byte 0  which proxies are trusted
then    lines: what a client invents, the peer, and what was added on the way, in order
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_network
from typing import Final

from relay.transport.addresses import ClientAddresses
from tests.fuzz.promise import Choices, promise, reached

TRUSTED: Final = (
    (),
    ("10.0.0.0/8",),
    ("127.0.0.1", "2001:db8::/32"),
    ("0.0.0.0/0", "::/0"),
)
INVENTED: Final = ("192.0.2.66", "not an address", "2001:db8::66", "")


def address_target(source: bytes) -> None:
    """Count one connection, with and without an invented history."""
    choices = Choices(source)
    trusted = TRUSTED[choices.below(len(TRUSTED))]
    peer, *forwarded = choices.rest().decode("latin-1").split("\n")
    addresses = ClientAddresses(trusted)
    counted = addresses.of(peer, forwarded)
    promise(_is_counted_form(counted) or counted == peer, counted)
    vouched = all(_is_within(alone, trusted) for alone in map(_alone, (peer, *forwarded)))
    reached("address of a proxy" if vouched else "address of a client")
    for invention in INVENTED:
        again = addresses.of(peer, [invention, *forwarded])
        promise(again == counted or vouched, ("believed", invention, again, counted))
        promise(again in (counted, _alone(invention)), (again, counted))


def _alone(address: str) -> str:
    """What a connection from this address is counted by where nobody is trusted."""
    return ClientAddresses().of(address, [])


def _is_counted_form(counted: str) -> bool:
    """Whether it is an address of IPv4, or a network of 64 bits of IPv6, in its one spelling."""
    try:
        if "/" not in counted:
            return str(IPv4Address(counted)) == counted
        network = IPv6Network(counted)
    except ValueError:
        return False
    return str(network) == counted and network.prefixlen == 64


def _is_within(counted: str, trusted: tuple[str, ...]) -> bool:
    """Whether a trusted proxy is counted by this."""
    try:
        first = ip_network(counted)[0]
    except ValueError:
        return False
    return any(first in ip_network(network) for network in trusted)
