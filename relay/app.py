"""The relay, wired. Read it as the tree of what runs, outermost first:

    store                an LMDB environment; its writer and its readers have a thread each
     └── log             group commit; a store that fails ends the process (intensity 0)
          ├── alarms     one task for every connection's deadlines
          ├── router     a task per live conversation, each supervised and quarantined alone
          └── listener   a contained task per connection, never restarted

What fails inside a conversation stays there; alarms, router and listener are restarted by their
supervisor, and too many restarts end the process. The store is not restarted in place: only a new
process reads what is really on disk.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Final

import trio

from actors.alarms import Alarms
from actors.failures import describe
from actors.inboxes import Inboxes
from actors.limits import Limits
from actors.router import Router
from actors.supervisor import ChildSpec, supervise
from actors.surroundings import Surroundings
from actors.telemetry import Telemetry
from relay import system
from relay.auth import Authenticator, Identity, UnauthenticatedError
from relay.banner import banner
from relay.config import Config, LimitsConfig
from relay.exits import CommandError, ExitCode
from relay.keys import KeyFileError, load_or_create_signing_key, verification_keys
from relay.listening import bind, tls_context, write_ports_file
from relay.server import Server
from relay.telemetry import configure_logging, report_crashes
from relay.transport.addresses import ClientAddresses
from relay.transport.front import Front, TransportLimits
from relay.transport.handshake import Judge
from relay.transport.listener import Listener
from storage.environment import Environment, open_environment
from storage.errors import StorageError, StoreCorruptError, StoreFailedError
from storage.keys import FORMAT_VERSION
from storage.lmdb_log import LmdbLog

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
CLOSING_SECONDS: Final = 2.0
"""Of a drain's time, what is kept for closing the connections that did not end by themselves."""


async def serve(config: Config, *, ports_file: Path | None = None) -> int:
    """Run the relay until SIGTERM or SIGINT has drained it; the exit code is 0 then.

    `ports_file` gets the address as JSON, written atomically once connections are accepted.

    Raises:
        CommandError: it cannot bind, or a file it needs cannot be used.
        StorageError: the store cannot be opened, or has failed.
    """
    telemetry = configure_logging(
        config.log.level,
        config.log.format,
        sys.stderr,
        hash_key=system.random_key(),
        wall_clock=system.wall_clock,
    )
    report_crashes(telemetry)
    _lift_descriptor_limit(config.limits, telemetry)
    with ExitStack() as stack:
        environment = open_environment(
            config.store.directory,
            new_epoch=system.new_epoch,
            map_lock=Lock(),
            map_size_bytes=config.store.map_size_bytes,
        )
        stack.callback(environment.close)
        telemetry.info("storage.opened", path=str(environment.path), format=FORMAT_VERSION)
        relay = Relay(config, environment, telemetry)
        system.tune_the_interpreter()
        await relay.run(ports_file)
    telemetry.info("relay.stopped", code=ExitCode.OK)
    return ExitCode.OK


class Relay:
    """Everything above an open store, for the life of the process."""

    def __init__(self, config: Config, environment: Environment, telemetry: Telemetry) -> None:
        self._config = config
        self._telemetry = telemetry
        self._failure: Exception | None = None
        self._everything = trio.CancelScope()
        self._writer = system.SerialThread("store-writer", self._crashed)
        self._reader = system.SerialThread("store-reader", self._crashed)
        limits = _limits(config.limits)
        self._log = LmdbLog(
            environment,
            writing=self._writer,
            reading=self._reader,
            free_bytes=lambda: shutil.disk_usage(environment.path).free,
            after_commit=lambda: self._inboxes.deliver(),  # noqa: PLW0108 - it is made below
            on_failure=self._store_failed,
            on_bug=self._bug,
            on_space=self._space_changed,
            min_free_bytes=config.limits.min_free_bytes,
            commit_max_bytes=config.limits.commit_bytes,
        )
        self._inboxes = Inboxes(self._log, limits)
        self._alarms = Alarms()
        self._router = Router(
            self._log, self._inboxes, limits, system.wall_clock, system.jitter, telemetry
        )
        self._authenticator = _authenticator(config)
        surroundings = Surroundings(
            self._log,
            self._router,
            self._inboxes,
            self._alarms,
            limits,
            telemetry,
            system.wall_clock,
            system.jitter,
            self._identify,
        )
        self._server = Server(surroundings, self._authenticator, system.new_connection_id)

    async def run(self, ports_file: Path | None) -> None:
        """Listen and serve until told to stop.

        Raises:
            StoreFailedError: the store has failed; some outcomes are unknown.
        """
        tls = tls_context(self._config.server)
        sockets = bind(self._config.server)
        self._front = Front(
            Judge(
                allowed_origins=frozenset(self._config.server.allowed_origins),
                is_secure=tls is not None,
            ),
            self._server,
            _transport_limits(self._config.limits),
            tls=tls,
            addresses=ClientAddresses(self._config.server.trusted_proxies),
            on_refused=self._server.refused,
        )
        listener = Listener(
            sockets,
            self._front.meet,
            on_capacity=self._at_capacity,
            on_bug=self._connection_bug,
            make_room=self._front.make_room,
        )
        told_to_stop = trio.Event()
        with self._everything, trio.open_signal_receiver(*SIGNALS) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals, told_to_stop)
                nursery.start_soon(self._keep, ChildSpec("alarms", self._alarms.run, "permanent"))
                nursery.start_soon(self._keep, ChildSpec("router", self._router.run, "permanent"))
                await self._router.started.wait()
                nursery.start_soon(self._keep, ChildSpec("listener", listener.run))
                self._announce(sockets[0].getsockname(), ports_file)
                await told_to_stop.wait()
                listener.close()
                await self._drain()
                nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await self._writer.finish()
            await self._reader.finish()
        if self._failure is not None:
            raise _last_words(self._failure) from self._failure

    async def _keep(self, child: ChildSpec) -> None:
        await supervise(child, self._telemetry, system.jitter)

    def _announce(self, address: tuple[str, int], ports_file: Path | None) -> None:
        host, port = address[:2]
        if ports_file is not None:
            write_ports_file(ports_file, host, port)
        self._telemetry.info("relay.ready", host=host, port=port)
        print(banner(self._config, host, port, system.program()), flush=True)

    # ── what the operator says ───────────────────────────────────────────────────────────────

    async def _obey(self, signals: AsyncIterator[int], told_to_stop: trio.Event) -> None:
        """The first SIGTERM or SIGINT asks for an orderly end, the second ends all on the spot."""
        async for number in signals:
            if number == signal.SIGUSR1:
                self._say_status()
            elif told_to_stop.is_set():
                os._exit(ExitCode.FAILED)  # what was acknowledged is on disk; nothing else counts
            else:
                told_to_stop.set()

    def _say_status(self) -> None:
        self._telemetry.info(
            "relay.status",
            tasks=trio.lowlevel.current_statistics().tasks_living,
            descriptors=system.open_descriptors(),
            handshakes=self._front.handshakes,
            connections=self._server.connections,
            conversations=self._router.live_conversations,
            under_way_bytes=self._router.under_way_bytes,
        )

    # ── ending ───────────────────────────────────────────────────────────────────────────────

    async def _drain(self) -> None:
        seconds = self._config.server.drain_seconds
        self._telemetry.info(
            "relay.draining", connections=self._server.connections, seconds=seconds
        )
        with trio.move_on_after(max(seconds - CLOSING_SECONDS, seconds / 2)):
            await self._server.drain()

    def _store_failed(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            self._telemetry.error("storage.failed", **describe(error))
            self._everything.cancel()

    def _crashed(self, error: BaseException) -> None:
        """A storage thread has died, by a fault of ours: nothing can be known any more."""
        self._store_failed(error if isinstance(error, Exception) else RuntimeError())

    # ── what goes wrong without ending anything ──────────────────────────────────────────────

    def _bug(self, error: Exception) -> None:
        self._telemetry.error("bug", where="commit", **describe(error))

    def _space_changed(self, has_space: bool) -> None:
        if has_space:
            self._telemetry.info("storage.recovered")
        else:
            self._telemetry.error("storage.full")

    def _connection_bug(self, error: Exception) -> None:
        self._telemetry.error("connection.failed", **describe(error))

    def _at_capacity(self, error_number: int) -> None:
        self._telemetry.warning(
            "listener.capacity",
            code=os.strerror(error_number).replace(" ", "_"),
            connections=self._server.connections,
        )

    def _identify(self, token: str) -> Identity | None:
        try:
            return self._authenticator.verify(token)
        except UnauthenticatedError:
            return None


# ── from the configuration to what each part takes ───────────────────────────────────────────


def _limits(configured: LimitsConfig) -> Limits:
    return Limits(
        max_ciphertext_bytes=configured.max_ciphertext_bytes,
        max_frame_bytes=configured.max_frame_bytes,
        unacked_sends=configured.unacked_sends,
        unacked_bytes=configured.unacked_bytes,
        sends_per_second=configured.sends_per_second,
        sends_burst=configured.sends_burst,
        mailbox_length=configured.mailbox_length,
        mailbox_bytes=configured.mailbox_bytes,
        sends_under_way_bytes=configured.sends_under_way_bytes,
        outbound_bytes=configured.outbound_bytes,
        connections_per_user=configured.connections_per_user,
        connections_per_address=configured.connections_per_address,
        connections=configured.connections,
        keepalive_seconds=configured.keepalive_seconds,
        live_conversations=configured.live_conversations,
        conversation_idle_seconds=configured.conversation_idle_seconds,
        recent_records_bytes=configured.recent_records_bytes,
    )


def _transport_limits(configured: LimitsConfig) -> TransportLimits:
    return TransportLimits(
        max_frame_bytes=configured.max_frame_bytes,
        handshakes=configured.handshakes,
        handshake_seconds=configured.handshake_seconds,
        write_seconds=configured.write_seconds,
        control_frames_per_second=configured.control_frames_per_second,
        max_fragments=configured.fragments_per_frame,
    )


def _authenticator(config: Config) -> Authenticator:
    try:
        keys = verification_keys(
            load_or_create_signing_key(config.store.path),
            config.auth.jwks_file,
            config.auth.algorithms,
        )
    except KeyFileError as error:
        raise CommandError(
            ExitCode.CONFIGURATION, error.what, error.why, error.what_to_do
        ) from None
    return Authenticator(
        keys,
        audience=config.auth.audience,
        issuer=config.auth.issuer,
        now_ms=system.wall_clock,
    )


def _lift_descriptor_limit(limits: LimitsConfig, telemetry: Telemetry) -> None:
    """Let in as many as the system allows, and say so where the configuration promises more."""
    descriptors = system.lift_descriptor_limit()
    connections = limits.connections + limits.handshakes
    if not system.has_descriptors_for(connections, descriptors):
        telemetry.warning(
            "relay.descriptors_low",
            descriptors=descriptors,
            connections=limits.connections,
            handshakes=limits.handshakes,
        )


def _last_words(failure: Exception) -> StorageError:
    """What to tell whoever finds the process ended by its store."""
    if isinstance(failure, StoreCorruptError):
        return StoreCorruptError(failure.what, failure.why, failure.what_to_do)
    return StoreFailedError(
        "The store has failed",
        # The text of any other exception might quote what a client has chosen.
        failure.why if isinstance(failure, StorageError) else type(failure).__name__,
        "Check the disk, run `ksmp-relay verify`, and start the relay again.",
    )
