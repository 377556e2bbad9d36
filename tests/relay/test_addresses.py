"""Which address a connection is counted by: nobody can choose another's, or a new one each time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.transport.addresses import ClientAddresses

PROXIES = ("10.0.0.0/8", "192.0.2.7", "2001:db8:ffff::/48")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "counted_by"),
    [
        # nobody in between
        ("198.51.100.1", [], "198.51.100.1"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("192.0.2.7", [], "192.0.2.7"),
        # a peer that is no trusted proxy may say what it likes
        ("198.51.100.1", ["203.0.113.9"], "198.51.100.1"),
        ("192.0.2.8", ["203.0.113.9"], "192.0.2.8"),
        # one proxy
        ("10.1.2.3", ["203.0.113.9"], "203.0.113.9"),
        ("192.0.2.7", ["203.0.113.9"], "203.0.113.9"),
        ("2001:db8:ffff::1", ["203.0.113.9"], "203.0.113.9"),
        # what stands left of what a trusted proxy says is the client's own invention
        ("10.1.2.3", ["198.51.100.66", "203.0.113.9"], "203.0.113.9"),
        ("10.1.2.3", ["10.9.9.9", "203.0.113.9"], "203.0.113.9"),
        ("10.1.2.3", ["198.51.100.66", "nonsense", "203.0.113.9"], "203.0.113.9"),
        # a chain of proxies
        ("10.1.2.3", ["203.0.113.9", "192.0.2.7", "10.4.4.4"], "203.0.113.9"),
        ("10.1.2.3", ["198.51.100.66", "203.0.113.9", "192.0.2.7"], "203.0.113.9"),
        # all of it trusted: the farthest that is known
        ("10.1.2.3", ["10.5.5.5", "10.4.4.4"], "10.5.5.5"),
        # not an address: the proxy that wrote it answers for whoever it was
        ("10.1.2.3", ["unknown"], "10.1.2.3"),
        ("10.1.2.3", [""], "10.1.2.3"),
        ("10.1.2.3", ["203.0.113.9", "unknown", "10.4.4.4"], "10.4.4.4"),
        ("10.1.2.3", ["203.0.113.9.1"], "10.1.2.3"),
        ("10.1.2.3", ["٢٠٣.0.113.9"], "10.1.2.3"),
        # ports, brackets, zones
        ("10.1.2.3", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.1.2.3", ["[2001:db8:1:2::9]:4711"], "2001:db8:1:2::/64"),
        ("10.1.2.3", ["[2001:db8:1:2::9]"], "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], "fe80::/64"),
        # IPv6: a network of 64 bits is one subscriber
        ("2001:db8:1:2::9", [], "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", [], "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", [], "2001:db8:1:3::/64"),
        # IPv4 in IPv6 clothes is IPv4, for clients and proxies alike
        ("::ffff:198.51.100.1", [], "198.51.100.1"),
        ("::ffff:10.1.2.3", ["::ffff:203.0.113.9"], "203.0.113.9"),
        # what is no address at all, such as a local socket's, stays what it is
        ("", ["203.0.113.9"], ""),
    ],
)
def test_a_connection_is_counted_by_the_last_address_that_is_vouched_for(
    peer: str, forwarded_for: list[str], counted_by: str
) -> None:
    assert ClientAddresses(PROXIES).of(peer, forwarded_for) == counted_by


def test_without_trusted_proxies_the_peer_counts_whatever_it_says() -> None:
    assert ClientAddresses().of("127.0.0.1", ["203.0.113.9"]) == "127.0.0.1"


TEXT = st.text(max_size=40) | st.ip_addresses().map(str) | st.sampled_from(["10.1.1.1", "unknown"])


@given(invented=st.lists(TEXT, max_size=10))
def test_nothing_a_client_writes_changes_what_it_is_counted_by(invented: list[str]) -> None:
    told = [*invented, "203.0.113.9"]  # the proxy appends the address it was reached from

    assert ClientAddresses(PROXIES).of("10.1.2.3", told) == "203.0.113.9"
    assert ClientAddresses(PROXIES).of("198.51.100.1", invented) == "198.51.100.1"


@given(peer=TEXT, forwarded_for=st.lists(TEXT, max_size=10))
def test_no_header_and_no_peer_raises(peer: str, forwarded_for: list[str]) -> None:
    assert isinstance(ClientAddresses(PROXIES).of(peer, forwarded_for), str)
