"""A reload adopts all that a configuration says, or nothing; and every setting has its share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.limits import Limits
from relay.config import (
    AuthConfig,
    Config,
    ConfigError,
    LimitsConfig,
    LogConfig,
    Problem,
    ServerConfig,
    StoreConfig,
)
from relay.memory import most_bytes
from relay.reload import FOR_A_RESTART, Reloader, until_restart
from relay.settings import Settings, limits_of, make_ready
from relay.transport.limits import TransportLimits
from storage.limits import StoreLimits
from tests.recording_telemetry import RecordingTelemetry

T = TypeVar("T")


class Reloading:
    """A reloader; `adopted` has the configurations it has adopted, `loading` what it finds."""

    def __init__(self, in_force: Config) -> None:
        self.telemetry = RecordingTelemetry()
        self.adopted: list[Config] = []
        self.loading: Callable[[], Config] = lambda: in_force
        self.is_loading = trio.CapacityLimiter(1)
        self.reloader = Reloader(in_force, self._load, self._adopt, self._in_thread, self.telemetry)

    def _load(self) -> Config:
        return self.loading()

    def _adopt(self, settings: Settings) -> None:
        self.adopted.append(settings.config)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        async with self.is_loading:
            return call()

    async def reload(self) -> None:
        self.reloader.ask()
        await wait_all_tasks_blocked()

    @property
    def told(self) -> list[tuple[str, str, object]]:
        return [
            (line.level, line.event, next(iter(line.fields.values()), None))
            for line in self.telemetry.lines
        ]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(store=StoreConfig(path=tmp_path))


async def test_what_is_loaded_is_adopted_and_what_must_wait_for_a_restart_is_named(
    config: Config, autojump_clock: MockClock
) -> None:
    reloading = Reloading(config)
    changed = replace(
        config,
        limits=LimitsConfig(connections=3),
        server=ServerConfig(port=1, drain_seconds=1.0),
        log=LogConfig(level="debug", format="json"),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading.reloader.run)
        reloading.loading = lambda: changed
        await reloading.reload()
        assert reloading.adopted == [
            replace(
                changed,
                server=ServerConfig(drain_seconds=1.0),
                log=LogConfig(level="debug"),
            )
        ]
        assert reloading.told == [
            ("warning", "relay.needs_restart", "server.port"),
            ("warning", "relay.needs_restart", "log.format"),
            ("info", "relay.reloaded", most_bytes(reloading.adopted[0])),
        ]
        nursery.cancel_scope.cancel()


def broken() -> Config:
    raise ConfigError((Problem("[a] b", "is\nwrong.", ""), Problem("[c] d", "is too.", "Mend it.")))


def buggy() -> Config:
    raise LookupError("what somebody wrote")


async def test_whatever_is_wrong_changes_nothing_and_the_next_reload_is_as_good_as_ever(
    config: Config, tmp_path: Path, autojump_clock: MockClock
) -> None:
    reloading = Reloading(config)
    missing_keys = (
        f"The key set {tmp_path}/none.json cannot be read. The operating system says: No such file "
        "or directory. Check the path in [auth] jwks_file and the file's permissions."
    )
    no_keys = replace(config, auth=AuthConfig(jwks_file=tmp_path / "none.json"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading.reloader.run)
        for loading in (broken, buggy, lambda: no_keys):
            reloading.loading = loading
            await reloading.reload()
        assert reloading.adopted == []
        problem = "relay.not_reloaded"
        assert reloading.told == [
            ("error", problem, "[a] b is?wrong."),
            ("error", problem, "[c] d is too. Mend it."),
            ("error", "bug", "reload"),
            ("error", problem, missing_keys),
        ]
        reloading.loading = lambda: config
        await reloading.reload()
        assert reloading.adopted == [config]
        nursery.cancel_scope.cancel()


async def test_what_stays_as_it_is_must_go_with_what_is_new(
    config: Config, autojump_clock: MockClock
) -> None:
    """A relay that is bound to the world must not lose its TLS, whatever host the file names."""
    world = ServerConfig(host="0.0.0.0", allow_plaintext=True)
    reloading = Reloading(replace(config, server=world))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading.reloader.run)
        reloading.loading = lambda: replace(config, server=ServerConfig(host="127.0.0.1"))
        await reloading.reload()
        assert reloading.adopted == []
        ((level, event, problem),) = reloading.told
        assert (level, event) == ("error", "relay.not_reloaded")
        assert str(problem).startswith("[server] host is not a loopback address")
        nursery.cancel_scope.cancel()


async def test_whoever_asks_during_a_reload_is_answered_by_one_more(
    config: Config, autojump_clock: MockClock
) -> None:
    reloading = Reloading(config)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading.reloader.run)
        async with reloading.is_loading:
            await reloading.reload()
            later = replace(config, limits=LimitsConfig(connections=3))
            reloading.loading = lambda: later
            for _ in range(3):
                await reloading.reload()
        await wait_all_tasks_blocked()
        assert len(reloading.adopted) == 2
        assert reloading.adopted[-1] == later
        nursery.cancel_scope.cancel()


def test_what_a_restart_must_change_is_there_and_no_part_is_given_it(config: Config) -> None:
    for section, key in FOR_A_RESTART:
        assert hasattr(getattr(config, section), key)
    same, waiting = until_restart(config, config)

    assert (same, waiting) == (config, ())


@pytest.mark.parametrize("name", [setting.name for setting in fields(LimitsConfig)])
def test_every_limit_that_is_configured_reaches_a_part_that_keeps_it(name: str) -> None:
    def shares(configured: LimitsConfig) -> tuple[object, ...]:
        return (
            limits_of(Limits, configured),
            limits_of(TransportLimits, configured),
            limits_of(StoreLimits, configured),
        )

    before = LimitsConfig()
    after = replace(before, **{name: getattr(before, name) + 1})

    assert shares(after) != shares(before)


def test_settings_are_made_of_the_files_that_the_configuration_names(config: Config) -> None:
    settings = make_ready(config)

    assert settings.config == config
    assert settings.tls is None
    assert list(settings.keys), "its own key, made if there was none"
    assert make_ready(config).keys.keys() == settings.keys.keys()
