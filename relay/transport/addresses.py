"""Which network address a connection is counted by.

    the peer is no trusted proxy     the peer's own
    the peer is one                  the last address in `X-Forwarded-For` that is none of them

Each proxy appends the address it was reached from, so everything left of the first address that no
trusted proxy vouches for may be invented by a client. An IPv6 address counts as its network of 64
bits, which is what one subscriber is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

SUBSCRIBER_BITS: Final = 64


class ClientAddresses:
    """Knows the trusted proxies, and sees past them."""

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        """`trusted_proxies` are networks, or single addresses."""
        self._proxies = tuple(ip_network(network, strict=False) for network in trusted_proxies)

    def of(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """What a connection from `peer`, with these items of `X-Forwarded-For`, is counted by."""
        address = _parsed(peer)
        if address is None:
            return peer
        for item in reversed(forwarded_for):
            if not self._trusts(address):
                break
            named = _parsed(item)
            if named is None:
                break  # not an address: what the proxy before it is known by must do
            address = named
        if isinstance(address, IPv6Address):
            return str(IPv6Network((address, SUBSCRIBER_BITS), strict=False))
        return str(address)

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._proxies)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """The address, an IPv4 one in IPv6 clothes undressed, a zone and a port left out."""
    host, bracket, _ = text.removeprefix("[").partition("]")
    if not bracket and host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
