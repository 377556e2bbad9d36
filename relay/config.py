"""Everything that can be configured: sections and settings, their defaults and what they mean.

A `Config` is immutable and complete; with no file and no variable it is the defaults below.
`load_config` finds the values (a flag wins over the environment over the TOML file over the
default); `relay.config_file` writes the texts below into a file to start from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from annotated_types import Ge, Gt, Le, MinLen

KIB: Final = 1024
MIB: Final = 1024 * KIB

# An event's other fields: five identifiers of 128 characters, numbers and names, in JSON.
_EVENT_FIELDS_BYTES: Final = 2 * KIB

# What the JSON form of an event adds to its ciphertext: base64, and the other fields, with room.
_FRAME_FIELDS_BYTES: Final = 16 * KIB

Port = Annotated[int, Ge(0), Le(65_535)]
Positive = Annotated[int, Gt(0), Le(2**31 - 1)]
NotNegative = Annotated[int, Ge(0)]
Seconds = Annotated[float, Gt(0), Le(31_536_000)]
Bytes = Annotated[int, Gt(0), Le(2**40)]

# Symmetric algorithms are left out on purpose: who can check such a token can also make one.
Algorithm = Literal[
    "Ed25519",
    "EdDSA",
    "ES256",
    "ES384",
    "ES512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
]

_STRICT: Final = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where the relay listens, and whom it believes."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = _STRICT

    host: Annotated[str, MinLen(1)] = "127.0.0.1"
    """The address to listen on."""

    port: Port = 8765
    """The port to listen on; 0 takes a free one."""

    websocket: Literal["websockets", "trio-websocket"] = "websockets"
    """The WebSocket implementation: "websockets" or "trio-websocket"."""

    tls_certificate: Path | None = None
    """The certificate chain to serve, a PEM file. Off: plaintext."""

    tls_key: Path | None = None
    """The certificate's private key, a PEM file."""

    allow_plaintext: bool = False
    """Allow plaintext on an address other than loopback, for a relay behind a TLS proxy."""

    allowed_origins: tuple[str, ...] = ()
    """Web origins whose pages may connect, such as "https://chat.example". Empty: only the
    relay's own."""

    trusted_proxies: tuple[str, ...] = ()
    """Networks of proxies whose X-Forwarded-For is believed, such as "10.0.0.0/8". It says which
    address a connection is counted by."""

    drain_seconds: Seconds = 10.0
    """How long a shutdown may take to commit and answer what was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """Whose tokens are accepted, beside those that the relay signs itself."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = _STRICT

    jwks_file: Path | None = None
    """A JSON Web Key Set with the public keys of whoever else issues tokens."""

    audience: Annotated[str, MinLen(1)] = "ksmp-relay"
    """What a token's `aud` must name."""

    issuer: Annotated[str, MinLen(1)] | None = None
    """What a token's `iss` must be. Off: not looked at."""

    algorithms: Annotated[tuple[Algorithm, ...], MinLen(1)] = ("Ed25519", "EdDSA", "ES256")
    """The signature algorithms that are accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """What one client, one conversation and all of them together may take."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = _STRICT

    max_ciphertext_bytes: Annotated[int, Gt(0), Le(16 * MIB)] = 256 * KIB
    """The largest ciphertext of one message."""

    max_frame_bytes: Annotated[int, Ge(0), Le(64 * MIB)] = 0
    """The largest WebSocket message; 0 is 1.5 × max_ciphertext_bytes + 16 KiB."""

    unacked_sends: Positive = 256
    """Unacknowledged sends of one connection, past which its socket is not read."""

    unacked_bytes: Bytes = 1 * MIB
    """The bytes of those sends, past which the socket is not read."""

    sends_per_second: Positive = 200
    """Sends of one user per second, on average."""

    sends_burst: Positive = 400
    """Sends of one user at once."""

    mailbox_length: Positive = 1_024
    """Sends that wait for one conversation."""

    mailbox_bytes: Bytes = 4 * MIB
    """The bytes of those sends."""

    commit_bytes: Bytes = 4 * MIB
    """The bytes stored by one transaction."""

    sends_under_way_bytes: Bytes = 64 * MIB
    """The bytes of all sends that are accepted and not yet answered."""

    outbound_bytes: Bytes = 256 * KIB
    """The bytes queued towards one connection, past which its socket is not read."""

    write_seconds: Seconds = 10.0
    """How long a peer may take to read 16 KiB before it is cut off."""

    connections_per_user: Positive = 10
    """Connections of one user at once."""

    connections_per_address: Positive = 1_000
    """Connections from one address at once; of IPv6, from one network of 64 bits."""

    connections: Positive = 20_000
    """Connections at once, in all."""

    handshakes: Positive = 1_000
    """Handshakes in progress at once, in all; past it the oldest of the address with most of them
    is closed without an answer."""

    handshake_seconds: Seconds = 5.0
    """How long a peer may take from connecting to the upgrade."""

    control_frames_per_second: Positive = 20
    """Pings of one connection per second, of either kind."""

    fragments_per_frame: Positive = 64
    """The fragments that one WebSocket message may come in."""

    keepalive_seconds: Seconds = 30.0
    """The silence after which the relay pings; after twice that it closes."""

    live_conversations: Positive = 10_000
    """Conversations kept ready in memory; the longest unused goes first."""

    conversation_idle_seconds: Seconds = 30.0
    """The idleness after which a conversation leaves memory."""

    recent_records_bytes: NotNegative = 16 * MIB
    """The memory for recent records, so that delivering them needs no read."""

    new_conversations_per_hour: Positive = 10_000
    """Conversations that one user may begin within an hour."""

    stored_bytes_per_sender: NotNegative = 0
    """The bytes stored of all that one user has sent; 0 is no limit."""

    stored_bytes_per_inbox: NotNegative = 0
    """The bytes stored of all that is in one user's inbox; 0 is no limit."""

    min_free_bytes: NotNegative = 64 * MIB
    """The free disk space below which nothing new is stored; reading goes on."""

    def __post_init__(self) -> None:
        """Fill in the frame limit that follows from the ciphertext's."""
        if self.max_frame_bytes == 0:
            largest = self.max_ciphertext_bytes * 3 // 2 + _FRAME_FIELDS_BYTES
            object.__setattr__(self, "max_frame_bytes", largest)

    @property
    def largest_event_bytes(self) -> int:
        """No event is longer: a record with the largest ciphertext, in base64."""
        return -(-self.max_ciphertext_bytes // 3) * 4 + _EVENT_FIELDS_BYTES


def default_store_path() -> Path:
    """Where the store is when nobody says otherwise: the user's data directory."""
    from platformdirs import user_data_path

    return user_data_path("ksmp-relay", appauthor=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """Where the records are kept."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = _STRICT

    path: Path = field(default_factory=default_store_path)
    """The data directory: the store, the relay's own keys and tokens, and what is revoked."""

    map_size_bytes: Annotated[int, Ge(1 * MIB), Le(2**46)] = 1024 * MIB
    """The store's size to begin with; it grows by itself."""

    sync_stall_seconds: Seconds = 10.0
    """How long one commit, or one read, may take before the relay is called not ready; while a
    commit takes longer, new sends are refused as `overloaded`."""

    @property
    def directory(self) -> Path:
        """The store proper, inside the data directory."""
        return self.path / "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What the relay writes about itself, on standard error."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = _STRICT

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severity that is written."""

    format: Literal["auto", "pretty", "json"] = "auto"
    """Lines for people or for programs; auto is pretty on a terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminConfig:
    """Where operators and their programs ask after the relay. Only this machine can reach it."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = _STRICT

    enabled: bool = True
    """Listen for operators at all."""

    host: Annotated[str, MinLen(1)] = "127.0.0.1"
    """The loopback address to listen on."""

    port: Port | None = None
    """The port to listen on; 0 takes a free one. Off: 8766, or a free one where that is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabConfig:
    """Whether this relay is a laboratory, where faults can be ordered. Never for real messages."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = _STRICT

    enabled: bool = False
    """Let whoever has the admin token order faults. Only the flag `--lab` can switch it on."""

    failpoints: Path | None = None
    """A file of faults to begin with, one order a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration of a relay."""

    server: ServerConfig = field(default_factory=ServerConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    log: LogConfig = field(default_factory=LogConfig)
    admin: AdminConfig = field(default_factory=AdminConfig)
    lab: LabConfig = field(default_factory=LabConfig)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration: where, what, and what to do about it."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.where} {self.what} {self.remedy}".rstrip()


class ConfigError(Exception):
    """The configuration cannot be used; `problems` is everything that is wrong with it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


Overrides = Mapping[str, Mapping[str, object]]
"""Values given by flags: section → key → value."""


def load_config(file: Path | None = None, overrides: Overrides | None = None) -> Config:
    """The configuration out of `overrides`, the environment, `file` and the defaults.

    Raises:
        ConfigError: with every problem at once.
    """
    # pydantic takes longer to import than all else that most commands need.
    from relay.config_sources import read_sources

    return read_sources(file, overrides or {})
