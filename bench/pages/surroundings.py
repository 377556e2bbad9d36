"""What an experiment ran on: versions, and the machine, without anybody's names or paths."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Final

import lmdb
from msgspec import Struct

from storage.engine import ENGINE_LIB_VERSION

PACKAGES: Final = (
    "trio",
    "outcome",
    "websockets",
    "trio-websocket",
    "h11",
    "msgspec",
    "lmdb",
    "structlog",
    "joserfc",
    "prometheus-client",
    "starlette",
    "anycorn",
    "picows",
    "uvloop",
    "msgpack",
    "numpy",
    "matplotlib",
)
"""On which speed and behaviour depend: of the relay, of what loads it, of what judges and draws."""

NOT_INSTALLED: Final = "not installed"
SYNCS: Final = 50
SYNCED_BYTES: Final = 4_096


class Machine(Struct, frozen=True):
    """Where it ran. Null is what this system does not tell.

    `sync_ms` and `worst_sync_ms`: the median and the worst of 50 appends of 4 KiB, each synced, on
    the file system of the store, with nothing else going on.
    """

    cpu: str | None
    cores: int
    architecture: str
    system: str
    kernel: str
    memory_mib: int | None
    file_system: str | None
    sync_ms: float
    worst_sync_ms: float


class Versions(Struct, frozen=True):
    """What ran. `packages` by name; `python` with its implementation."""

    relay: str
    python: str
    lmdb_library: str
    packages: dict[str, str]


def versions() -> Versions:
    """Of this process, whose environment is the relay's too."""
    return Versions(
        relay=_version("ksmp-relay"),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        lmdb_library=".".join(map(str, lmdb.version(lib_version=ENGINE_LIB_VERSION))),
        packages={name: _version(name) for name in PACKAGES},
    )


def machine(store: Path) -> Machine:
    """Of this machine; a file is written and removed in the directory that stands for the store.

    Raises:
        OSError: nothing can be written there.
    """
    sync_ms, worst_sync_ms = _sync_times(store)
    return Machine(
        cpu=_field(Path("/proc/cpuinfo"), r"^model name\s*:\s*(.+)$"),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _cores(),
        architecture=platform.machine(),
        system=platform.system(),
        kernel=platform.release(),
        memory_mib=_memory_mib(),
        file_system=_file_system(store),
        sync_ms=sync_ms,
        worst_sync_ms=worst_sync_ms,
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED


def _cores() -> int:
    return os.cpu_count() or 1


def _field(file: Path, pattern: str) -> str | None:
    with suppress(OSError):
        found = re.search(pattern, file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        return found[1].strip() if found else None
    return None


def _memory_mib() -> int | None:
    kibibytes = _field(Path("/proc/meminfo"), r"^MemTotal:\s*(\d+) kB$")
    return int(kibibytes) // 1_024 if kibibytes else None


def _file_system(store: Path) -> str | None:
    """The kind of file system, such as ext4: that of the longest mount point above the store."""
    resolved = store.resolve()
    found = [
        (len(point.parts), kind) for point, kind in _mounts() if resolved.is_relative_to(point)
    ]
    # Of two at one place, the later mount is the one that is seen.
    return max(reversed(found), key=lambda one: one[0])[1] if found else None


def _mounts() -> Iterator[tuple[Path, str]]:
    with suppress(OSError):
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            place, _, kind = line.partition(" - ")
            if kind:
                point = re.sub(r"\\(\d{3})", lambda sign: chr(int(sign[1], 8)), place.split()[4])
                yield Path(point), kind.split()[0]


def _sync_times(store: Path) -> tuple[float, float]:
    took = []
    with tempfile.TemporaryFile(dir=store, buffering=0) as file:
        for _ in range(SYNCS):
            began = perf_counter()
            file.write(bytes(SYNCED_BYTES))
            os.fdatasync(file.fileno())
            took.append((perf_counter() - began) * 1_000)
    took.sort()
    return round(took[len(took) // 2], 3), round(took[-1], 3)
