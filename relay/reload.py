"""Taking on a changed configuration while the relay runs: all of it, or nothing.

    asked → loaded → made ready    in a thread, for it reads files; whatever is wrong ends it here
          → adopted                on the event loop, in one step without a checkpoint

What only a restart can change stays as it is, and is named. What is wrong is told in the words in
which a start would have told it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import trio

from actors.failures import describe
from actors.telemetry import Telemetry
from relay.config import Config, ConfigError, Problem
from relay.config_rules import broken_rules
from relay.exits import CommandError, on_one_line
from relay.keys import KeyFileError
from relay.memory import most_bytes
from relay.settings import Settings, make_ready
from relay.threads import InThread

FOR_A_RESTART: Final = (
    ("server", "host"),
    ("server", "port"),
    ("server", "websocket"),
    ("store", "path"),
    ("store", "map_size_bytes"),
    ("log", "format"),
    ("admin", "enabled"),
    ("admin", "host"),
    ("admin", "port"),
    ("lab", "enabled"),
)


class _Ready(NamedTuple):
    """What is to be adopted, and what of the configuration has to wait for a restart."""

    settings: Settings
    waiting: tuple[str, ...]


class Reloader:
    """Reloads when asked, one reload after the other. `run` must be running."""

    def __init__(
        self,
        in_force: Config,
        load: Callable[[], Config],
        adopt: Callable[[Settings], None],
        in_thread: InThread,
        telemetry: Telemetry,
    ) -> None:
        """`load` finds the configuration as the start did, or raises `ConfigError`."""
        self._in_force = in_force
        self._load = load
        self._adopt = adopt
        self._in_thread = in_thread
        self._telemetry = telemetry
        self._asked = trio.Event()

    def ask(self) -> None:
        """Reload soon: what is on disk now will have been looked at. Asking twice is fine."""
        self._asked.set()

    async def run(self) -> None:
        """Reload whenever asked, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            await self._reload()

    async def _reload(self) -> None:
        try:
            ready = await self._in_thread(self._make_ready)
        except (ConfigError, CommandError, KeyFileError) as error:
            for problem in _problems(error):
                self._telemetry.error("relay.not_reloaded", problem=problem)
        except Exception as bug:  # noqa: BLE001 - the relay goes on with what it has
            self._telemetry.error("bug", where="reload", **describe(bug))
        else:
            self._adopt(ready.settings)
            self._in_force = ready.settings.config
            for setting in ready.waiting:
                self._telemetry.warning("relay.needs_restart", setting=setting)
            most = most_bytes(ready.settings.config)
            self._telemetry.info("relay.reloaded", most_memory_bytes=most)

    def _make_ready(self) -> _Ready:
        """In a thread: everything that can go wrong about the configuration goes wrong here.

        Raises:
            ConfigError: it cannot be used, with every problem at once.
            CommandError: a file it names cannot be used.
            KeyFileError: the same, of keys.
        """
        config, waiting = until_restart(self._in_force, self._load())
        broken = tuple(
            Problem(f"[{rule.section}] {rule.key}", rule.what, rule.remedy)
            for rule in broken_rules(config)
        )
        if broken:
            raise ConfigError(broken)
        return _Ready(make_ready(config), waiting)


def until_restart(in_force: Config, loaded: Config) -> tuple[Config, tuple[str, ...]]:
    """`loaded`, but for what only a restart can change; and what of that is different there."""
    waiting = []
    for section, key in FOR_A_RESTART:
        present = getattr(getattr(in_force, section), key)
        wanted = getattr(loaded, section)
        if getattr(wanted, key) != present:
            loaded = replace(loaded, **{section: replace(wanted, **{key: present})})
            waiting.append(f"{section}.{key}")
    return loaded, tuple(waiting)


def _problems(error: ConfigError | CommandError | KeyFileError) -> list[str]:
    """One line for each thing that is wrong, fit for the log."""
    if isinstance(error, ConfigError):
        return [on_one_line(str(problem)) for problem in error.problems]
    return [on_one_line(error.what, error.why, error.what_to_do)]
