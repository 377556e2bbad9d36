"""The relay, wired. Read it as the tree of what runs, outermost first:

    admin                what the operator sees; the relay never ends because of it
    store                an LMDB environment; its writer and its readers have a thread each
     └── log             group commit; a store that fails ends the process (intensity 0)
          ├── alarms     one task for every connection's deadlines
          ├── router     a task per live conversation, each supervised and quarantined alone
          ├── revocations, reloader   what the operator changes while the relay runs
          └── listener   a contained task per connection, never restarted

What fails inside a conversation stays there; the others below the log are restarted by their
supervisor, and too many restarts end the process. The store is not restarted in place
(`relay/store_failure.py`). A laboratory is no part of the tree: it is handed to those who have a
failpoint.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, nullcontext
from functools import partial
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
from actors.traffic import Traffic
from relay import system
from relay.admin.listener import AdminListener, open_admin
from relay.admin.observed import Observed
from relay.admin.readiness import Phase, Readiness
from relay.admin.watches import LoopWatch, StoreWatch
from relay.auth import Authenticator
from relay.banner import banner
from relay.config import Config, StoreConfig
from relay.descriptors import DescriptorLimit
from relay.digests import Digests
from relay.exits import ExitCode
from relay.hangup import Hangup
from relay.lab.laboratory import met, open_laboratory, wired
from relay.listening import bind, write_ports_file
from relay.memory import most_bytes
from relay.reload import Reloader
from relay.revocation_watch import RevocationWatch
from relay.server import Server
from relay.settings import Settings, make_ready
from relay.signals import SIGNALS, obey
from relay.store_failure import StoreFailure
from relay.telemetry import StructuredTelemetry, configure_logging, report_crashes
from relay.transport.front import Front
from relay.transport.listener import Listener
from relay.transport.opening import opening
from storage.commit_meter import CommitMeter
from storage.directory import create_directory
from storage.environment import Environment, open_environment
from storage.failpoints import Failpoints
from storage.keys import FORMAT_VERSION
from storage.lmdb_log import LmdbLog
from storage.read_meter import ReadMeter

CLOSING_SECONDS: Final = 2.0
"""Of a drain's time, what is kept for closing the connections that did not end by themselves."""


async def serve(
    config: Config, load: Callable[[], Config], hangup: Hangup, ports_file: Path | None
) -> int:
    """Run the relay until SIGTERM or SIGINT has drained it; the exit code is 0 then.

    SIGHUP has the configuration loaded again; `load` finds it, or raises `ConfigError`. `hangup`
    says whether that was asked for before the relay could listen to it.

    `ports_file` gets the addresses as JSON, written atomically once connections are accepted.

    Raises:
        CommandError: it cannot bind, or a file it needs cannot be used.
        StorageError: the store cannot be opened, or has failed.
    """
    digests = Digests(system.random_key())
    telemetry = configure_logging(
        config.log.level,
        config.log.format,
        sys.stderr,
        digest=digests.of,
        wall_clock=system.wall_clock,
    )
    report_crashes(telemetry)
    descriptors = DescriptorLimit(system.lift_descriptor_limit, telemetry)
    descriptors.adopt(config.limits)
    create_directory(config.store.path)
    admin = open_admin(config, telemetry, system.new_secret, system.jitter)
    async with nullcontext() if admin is None else admin.serving():
        with ExitStack() as stack:
            environment = await system.in_thread(partial(_open_store, config.store))
            stack.callback(environment.close)
            telemetry.info("storage.opened", path=str(environment.path), format=FORMAT_VERSION)
            relay = Relay(make_ready(config), load, environment, telemetry, digests, descriptors)
            system.tune_the_interpreter()
            await relay.run(hangup, admin, ports_file)
    telemetry.info("relay.stopped", code=ExitCode.OK)
    return ExitCode.OK


def _open_store(config: StoreConfig) -> Environment:
    """In a thread: an upgrade of a large store takes long, and the operator is told meanwhile."""
    return open_environment(
        config.directory,
        new_epoch=system.new_epoch,
        new_lock=Lock,
        map_size_bytes=config.map_size_bytes,
    )


class Relay:
    """Everything above an open store, for the life of the process."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Config],
        environment: Environment,
        telemetry: StructuredTelemetry,
        digests: Digests,
        descriptors: DescriptorLimit,
    ) -> None:
        config, limits = settings.config, settings.limits
        self._settings = settings
        self._telemetry = telemetry
        self._descriptors = descriptors
        self._watch = RevocationWatch(config.store.path, system.in_thread, telemetry)
        self._reloader = Reloader(config, load, self._adopt, system.in_thread, telemetry)
        self._lab = open_laboratory(settings, telemetry, digests.of, system)
        failpoints = None if self._lab is None else self._lab.failpoints
        self._everything = trio.CancelScope()
        self._store_failure = StoreFailure(self._everything, telemetry)
        self._writer = system.SerialThread("store-writer", self._store_failure.note_crash)
        self._reader = system.SerialThread("store-reader", self._store_failure.note_crash)
        self._folder = system.SerialThread("store-folder", self._store_failure.note_crash)
        meter, read_meter = CommitMeter(system.monotonic), ReadMeter(system.monotonic)
        self._log = LmdbLog(
            environment,
            writing=self._writer,
            reading=self._reader,
            folding=self._folder,
            free_bytes=lambda: shutil.disk_usage(environment.path).free,
            after_commit=lambda: self._inboxes.deliver(),  # noqa: PLW0108 - it is made below
            on_failure=self._store_failure.note,
            on_bug=self._bug,
            on_space=self._space_changed,
            limits=settings.store_limits,
            meter=meter,
            read_meter=read_meter,
            failpoints=failpoints,
            clock=system.monotonic,
        )
        self._inboxes = Inboxes(self._log, limits, failpoints)
        self._alarms = Alarms()
        clock, jitter = system.wall_clock, system.jitter
        self._router = Router(
            self._log,
            self._inboxes,
            limits,
            clock,
            jitter,
            telemetry,
            failpoints=failpoints,
            is_stalled=lambda: self._readiness.is_stalled,  # it is made below
        )
        surroundings = self._surroundings(limits, failpoints)
        is_revoked = self._watch.revocations.cover
        self._server = Server(
            surroundings, self._authenticator(), system.new_connection_id, is_revoked
        )
        self._readiness = _readiness(config, meter, read_meter)
        self._observed = self._observe(meter, read_meter, surroundings.traffic, digests)

    def _surroundings(self, limits: Limits, failpoints: Failpoints | None) -> Surroundings:
        return Surroundings(
            self._log,
            self._router,
            self._inboxes,
            self._alarms,
            limits,
            self._telemetry,
            system.wall_clock,
            system.jitter,
            lambda token: self._server.identify(token),  # noqa: PLW0108 - made after this
            failpoints=failpoints,
        )

    def _observe(
        self, meter: CommitMeter, read_meter: ReadMeter, traffic: Traffic, digests: Digests
    ) -> Observed:
        return Observed(
            readiness=self._readiness,
            router=self._router,
            traffic=traffic,
            meter=meter,
            read_meter=read_meter,
            loop=LoopWatch(),
            store=StoreWatch(self._log.usage),
            lines=self._telemetry.lines,
            connections=lambda: self._server.connections,
            handshakes=lambda: self._front.handshakes,
            digest=digests.of,
            lab=self._lab,
        )

    async def run(
        self, hangup: Hangup, admin: AdminListener | None, ports_file: Path | None
    ) -> None:
        """Listen and serve until told to stop.

        Raises:
            StorageError: the store has failed; some outcomes are unknown.
        """
        settings = self._settings
        sockets = bind(settings.config.server.host, settings.config.server.port, "--port")
        self._front = Front(
            settings.judge,
            self._server,
            settings.transport_limits,
            open_transport=wired(self._lab, opening(settings.config.server.websocket)),
            tls=settings.tls,
            addresses=settings.addresses,
            on_refused=self._server.refused,
        )
        listener = Listener(
            sockets,
            met(self._lab, self._front.meet),
            on_capacity=self._at_capacity,
            on_bug=self._connection_bug,
            make_room=self._front.make_room,
            open_epoll=system.open_epoll,
        )
        told_to_stop = trio.Event()
        with self._everything, trio.open_signal_receiver(*SIGNALS) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals, hangup, told_to_stop)
                if admin is not None:
                    nursery.start_soon(admin.observe, self._observed)
                for child in self._permanent():
                    nursery.start_soon(self._keep, child)
                if hangup.has_come:
                    self._reloader.ask()
                await self._router.started.wait()
                nursery.start_soon(self._keep, ChildSpec("listener", listener.run))
                self._readiness.phase = Phase.READY
                self._announce(sockets[0].getsockname(), admin, ports_file)
                await told_to_stop.wait()
                self._readiness.phase = Phase.DRAINING
                listener.close()
                await self._drain()
                nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await self._writer.finish()
            await self._reader.finish()
            self._log.finish()
            await self._folder.finish()
        self._store_failure.raise_last_words()

    def _permanent(self) -> Iterator[ChildSpec]:
        """Whoever runs beside the listener."""
        yield ChildSpec("alarms", self._alarms.run, "permanent")
        yield ChildSpec("router", self._router.run, "permanent")
        enforcing = partial(self._watch.run, self._server.end_revoked)
        yield ChildSpec("revocations", enforcing, "permanent")
        yield ChildSpec("reloader", self._reloader.run, "permanent")

    async def _keep(self, child: ChildSpec) -> None:
        await supervise(child, self._telemetry, system.jitter)

    def _announce(
        self, address: tuple[str, int], admin: AdminListener | None, ports_file: Path | None
    ) -> None:
        host, port = address[:2]
        listening = {"relay": (host, port)} | ({"admin": admin.address} if admin else {})
        if ports_file is not None:
            write_ports_file(ports_file, listening)
        config = self._settings.config
        self._telemetry.info(
            "relay.ready", host=host, port=port, most_memory_bytes=most_bytes(config)
        )
        print(banner(config, listening, system.program()), flush=True)

    # ── what the operator says ───────────────────────────────────────────────────────────────

    async def _obey(
        self, signals: AsyncIterator[int], hangup: Hangup, told_to_stop: trio.Event
    ) -> None:
        reload, say_status = self._reloader.ask, self._say_status
        await obey(
            signals, hangup, told_to_stop, reload=reload, say_status=say_status, die=system.die
        )

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

    def _adopt(self, settings: Settings) -> None:
        """Take on new settings in one step: there is no checkpoint in it, and nothing can fail."""
        self._settings = settings
        self._telemetry.adopt(settings.config.log.level)
        self._readiness.adopt(
            sync_stall_seconds=settings.config.store.sync_stall_seconds,
            min_free_bytes=settings.config.limits.min_free_bytes,
        )
        self._log.adopt(settings.store_limits)
        self._inboxes.adopt(settings.limits)
        self._router.adopt(settings.limits)
        self._server.adopt(settings.limits, self._authenticator())
        self._front.adopt(
            settings.judge,
            settings.transport_limits,
            tls=settings.tls,
            addresses=settings.addresses,
        )
        self._descriptors.adopt(settings.config.limits)
        if self._lab is not None:
            self._lab.adopt(settings.orders)

    def _authenticator(self) -> Authenticator:
        auth = self._settings.config.auth
        return Authenticator(
            self._settings.keys,
            audience=auth.audience,
            issuer=auth.issuer,
            now_ms=system.wall_clock,
            is_revoked=self._watch.revocations.cover,
        )

    # ── ending ───────────────────────────────────────────────────────────────────────────────

    async def _drain(self) -> None:
        seconds = self._settings.config.server.drain_seconds
        self._telemetry.info(
            "relay.draining", connections=self._server.connections, seconds=seconds
        )
        with trio.move_on_after(max(seconds - CLOSING_SECONDS, seconds / 2)):
            await self._server.drain()

    # ── what goes wrong without ending anything ──────────────────────────────────────────────

    def _bug(self, error: Exception) -> None:
        self._telemetry.error("bug", where="commit", **describe(error))

    def _space_changed(self, has_space: bool) -> None:
        self._readiness.has_space = has_space
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


def _readiness(config: Config, meter: CommitMeter, read_meter: ReadMeter) -> Readiness:
    return Readiness(
        meter,
        read_meter,
        sync_stall_seconds=config.store.sync_stall_seconds,
        min_free_bytes=config.limits.min_free_bytes,
    )
