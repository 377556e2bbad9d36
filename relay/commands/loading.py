"""The configuration for a command, or the end of that command with everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relay.config import Config, ConfigError, Overrides, Problem, load_config
from relay.exits import CommandError, ExitCode


def load(
    file: Path | None,
    *,
    data: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    admin_port: int | None = None,
    lab: bool | None = None,
    failpoints: Path | None = None,
    check_files: bool = False,
) -> Config:
    """The configuration with these flags above all else.

    Raises:
        CommandError: it cannot be used.
    """
    try:
        return found(
            file,
            data=data,
            host=host,
            port=port,
            admin_port=admin_port,
            lab=lab,
            failpoints=failpoints,
            check_files=check_files,
        )
    except ConfigError as error:
        raise CommandError(
            ExitCode.CONFIGURATION,
            "The configuration cannot be used",
            "\n".join(f"  {problem}" for problem in error.problems),
            "Correct this, then look at it with `ksmp-relay config check`.",
        ) from None


def found(
    file: Path | None,
    *,
    data: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    admin_port: int | None = None,
    lab: bool | None = None,
    failpoints: Path | None = None,
    check_files: bool = False,
) -> Config:
    """The same for a program that goes on whatever is wrong.

    Raises:
        ConfigError: with every problem at once.
    """
    flags = (
        ("store", "path", data),
        ("server", "host", host),
        ("server", "port", port),
        ("admin", "port", admin_port),
        ("lab", "enabled", lab),
        ("lab", "failpoints", failpoints),
    )
    config = load_config(file, _overrides(flags))
    if check_files:
        _check_files(config)
    return config


def _overrides(flags: Iterable[tuple[str, str, object]]) -> Overrides:
    given: dict[str, dict[str, object]] = {}
    for section, key, value in flags:
        if value is not None:
            given.setdefault(section, {})[key] = value
    return given


def _check_files(config: Config) -> None:
    from relay.config_rules import unusable_files

    problems = tuple(
        Problem(f"[{rule.section}] {rule.key}", rule.what, rule.remedy)
        for rule in unusable_files(config)
    )
    if problems:
        raise ConfigError(problems)
