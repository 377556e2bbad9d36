"""What figures were measured with and on, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator

from bench.pages import wording as words
from bench.pages.surroundings import Machine, Versions


def versions_rows(versions: Versions) -> Iterator[tuple[str, str]]:
    """Name and version of all that ran."""
    yield "relay", versions.relay
    yield "Python", versions.python
    yield "LMDB, the library", versions.lmdb_library
    yield from sorted(versions.packages.items())


def machine_rows(machine: Machine) -> Iterator[tuple[str, str]]:
    """The facts about the machine that do not change from one minute to the next."""
    yield "processor", machine.cpu or words.UNKNOWN
    yield "cores", str(machine.cores)
    yield "architecture", machine.architecture
    yield "system", f"{machine.system} {machine.kernel}"
    memory = machine.memory_mib
    yield "memory", words.UNKNOWN if memory is None else f"{memory:,} MiB"
    yield "file system of the store", machine.file_system or words.UNKNOWN


def sync_row(machine: Machine) -> tuple[str, str]:
    """How long the disk took, which does change."""
    sync, worst = words.latency(machine.sync_ms), words.latency(machine.worst_sync_ms)
    return "a sync of 4 KiB, with nothing else going on", f"median {sync}, worst {worst}"
