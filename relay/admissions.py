"""How many connections there are: in all, of each user, from each address, and of them replaced.

A connection that replaces another of its device takes its place. The replaced ones, until they are
gone, are counted by themselves: whoever replaces himself without end has a limit, and takes no
place from anyone else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from actors.limits import Limits
from ksmp.types import ConnectionId, DeviceId, UserId
from relay.auth import Identity

LEAST_REPLACED: Final = 8
"""Replaced ones that are not gone may be a tenth of all connections, or so many if that is few."""


@dataclass(frozen=True, slots=True)
class Admission:
    """An identity, the name of the connection it was given, and the address it is counted by."""

    identity: Identity
    connection_id: ConnectionId
    address: str


def most_replaced(connections: int) -> int:
    """How many replaced connections there can be beside so many that are not."""
    return max(connections // 10, LEAST_REPLACED)


class Admissions:
    """The counts of those who are admitted. It only counts and compares: it refuses nobody."""

    def __init__(self) -> None:
        self._number = 0
        self._present = 0  # devices: all without those that are replaced
        self._devices: dict[UserId, Counter[DeviceId]] = {}
        self._addresses: Counter[str] = Counter()

    @property
    def number(self) -> int:
        """How many there are, the replaced ones included."""
        return self._number

    def is_too_many_of_one(self, who: Admission, limits: Limits) -> bool:
        """Whether one more is more than the user, or the address, may have."""
        devices = self._devices.get(who.identity.user)
        is_new = self._is_new(who)
        if devices is not None:
            counted = len(devices) if is_new else devices.total() - len(devices)
            if counted >= limits.connections_per_user:
                return True
        return is_new and self._addresses[who.address] >= limits.connections_per_address

    def is_one_too_many(self, who: Admission, limits: Limits) -> bool:
        """Whether one more is more than there may be in all."""
        if self._is_new(who):
            return self._present >= limits.connections
        return self._number - self._present >= most_replaced(limits.connections)

    def _is_new(self, who: Admission) -> bool:
        """Whether it would replace no other."""
        return who.identity.device not in self._devices.get(who.identity.user, ())

    def add(self, who: Admission) -> None:
        """Count one more."""
        self._present += self._is_new(who)
        self._devices.setdefault(who.identity.user, Counter())[who.identity.device] += 1
        self._addresses[who.address] += 1
        self._number += 1

    def remove(self, who: Admission) -> None:
        """Count it no more."""
        identity = who.identity
        self._number -= 1
        self._addresses[who.address] -= 1
        if not self._addresses[who.address]:
            del self._addresses[who.address]
        devices = self._devices[identity.user]
        devices[identity.device] -= 1
        if not devices[identity.device]:
            del devices[identity.device]
            self._present -= 1
        if not devices:
            del self._devices[identity.user]
