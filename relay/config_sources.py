"""Reads the configuration from where people put it, and says everything that is wrong at once.

A flag wins over an environment variable `KSMP_SECTION__KEY` over the TOML file over the default.
Lists are JSON in the environment, and an empty variable is as good as none. A path in the file is
relative to the file, elsewhere to the working directory. A name that nobody knows is an error.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Final, get_args, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from relay.config import (
    AdminConfig,
    AuthConfig,
    Config,
    ConfigError,
    LabConfig,
    LimitsConfig,
    LogConfig,
    Overrides,
    Problem,
    ServerConfig,
    StoreConfig,
)
from relay.config_rules import BrokenRule, broken_rules
from relay.toml_lines import line_of

PREFIX: Final = "KSMP_"

SECTIONS: Final[Mapping[str, type]] = {
    "server": ServerConfig,
    "auth": AuthConfig,
    "limits": LimitsConfig,
    "store": StoreConfig,
    "log": LogConfig,
    "admin": AdminConfig,
    "lab": LabConfig,
}
KINDS: Final = {name: get_type_hints(section) for name, section in SECTIONS.items()}
VARIABLES: Final = {
    f"{PREFIX}{section}__{setting.name}".upper(): (section, setting.name)
    for section, settings in SECTIONS.items()
    for setting in fields(settings)
}
FLAGS: Final = {
    ("server", "host"): "--host",
    ("server", "port"): "--port",
    ("store", "path"): "--data",
    ("admin", "port"): "--admin-port",
    ("lab", "enabled"): "--lab",
    ("lab", "failpoints"): "--failpoints",
}

Found = dict[str, dict[str, object]]


def read_sources(file: Path | None, overrides: Overrides) -> Config:
    """The configuration, complete and checked. For `relay.config.load_config`.

    Raises:
        ConfigError: with every problem at once.
    """
    places = _Places(file, _read(file) if file is not None else "", overrides)
    unknown = tuple(_unknown_variables())
    try:
        settings = _settings_from(file, overrides)
    except ValidationError as invalid:
        # An item that is wrong makes its list wrong as well: the first word on a place is enough.
        wrong: dict[str, Problem] = {}
        for error in invalid.errors():
            problem = _explain(error, places)
            wrong.setdefault(problem.where, problem)
        raise ConfigError((*wrong.values(), *unknown)) from None
    config = Config(
        server=settings.server,
        auth=settings.auth,
        limits=settings.limits,
        store=settings.store,
        log=settings.log,
        admin=settings.admin,
        lab=settings.lab,
    )
    broken = tuple(
        Problem(places.of(rule.section, rule.key), rule.what, rule.remedy)
        for rule in (*broken_rules(config), *_only_by_flag(config, overrides))
    )
    if broken or unknown:
        raise ConfigError((*broken, *unknown))
    return config


def _only_by_flag(config: Config, overrides: Overrides) -> Iterator[BrokenRule]:
    """What a file or an environment could bring along to where messages are real."""
    if config.lab.enabled and not overrides.get("lab", {}).get("enabled"):
        yield BrokenRule(
            "lab",
            "enabled",
            "cannot be set here: a laboratory by mistake could lose what people write.",
            "Start it with the flag --lab, or remove this.",
        )


# ── the sources ──────────────────────────────────────────────────────────────────────────────


class _Settings(BaseSettings):
    """A `Config` in the making: the same sections, merged and validated by pydantic."""

    model_config = SettingsConfigDict(extra="forbid")

    server: ServerConfig = ServerConfig()
    auth: AuthConfig = AuthConfig()
    limits: LimitsConfig = LimitsConfig()
    store: StoreConfig = StoreConfig()
    log: LogConfig = LogConfig()
    admin: AdminConfig = AdminConfig()
    lab: LabConfig = LabConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources, the strongest first."""
        return init_settings, _Environment(settings_cls), _TomlFile(settings_cls)


def _settings_from(file: Path | None, overrides: Overrides) -> _Settings:
    class Settings(_Settings):
        model_config = SettingsConfigDict(toml_file=file)

    given = {section: dict(values) for section, values in overrides.items()}
    return Settings(**given)  # type: ignore[arg-type]  # validation makes them sections


class _Environment(PydanticBaseSettingsSource):
    """The variables `KSMP_SECTION__KEY`, and no others.

    Not pydantic's own source: that one also takes a whole section as one JSON text, and stops at
    the first list that is not JSON.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[None, str, bool]:
        """Unused: `__call__` finds all fields at once."""
        return None, field_name, False

    def __call__(self) -> Found:
        """What the environment says, lists decoded."""
        found: Found = {}
        for variable, (section, key) in VARIABLES.items():
            value: object = os.environ.get(variable, "")
            if value == "":
                continue
            if _is_list(section, key):
                value = _decoded(str(value))
            found.setdefault(section, {})[key] = value
        return found


class _TomlFile(TomlConfigSettingsSource):
    """The file, the paths in it taken as relative to its directory."""

    def __call__(self) -> Found:
        """What the file says."""
        found: Found = super().__call__()
        if isinstance(self.toml_file_path, Path):
            for section, values in found.items():
                if isinstance(values, dict):
                    found[section] = {
                        key: self.toml_file_path.parent / value
                        if isinstance(value, str) and _is_path(section, key)
                        else value
                        for key, value in values.items()
                    }
        return found


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text  # refused as a list with the others, at its place


def _is_list(section: str, key: str) -> bool:
    return get_origin(KINDS[section].get(key)) is tuple


def _is_path(section: str, key: str) -> bool:
    kind = KINDS.get(section, {}).get(key)
    return kind is Path or Path in get_args(kind)


def _read(file: Path) -> str:
    """The file's text, known to be TOML.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        text = file.read_text(encoding="utf-8")
        tomllib.loads(text)
    except OSError as error:
        what = f"cannot be read: {error.strerror}."
        remedy = "Name an existing file, or write one with `ksmp-relay config init`."
        raise ConfigError((Problem(str(file), what, remedy),)) from None
    except UnicodeDecodeError:
        problem = Problem(str(file), "is not UTF-8 text.", "Write it as TOML 1.0.")
        raise ConfigError((problem,)) from None
    except tomllib.TOMLDecodeError as error:
        problem = Problem(str(file), f"is not TOML: {error}.", "Correct it there.")
        raise ConfigError((problem,)) from None
    except (ValueError, RecursionError):  # the parser follows neither such numbers nor such depth
        problem = Problem(str(file), "holds a number or a list that no setting has.", "Remove it.")
        raise ConfigError((problem,)) from None
    return text


# ── what is wrong, and where ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Places:
    """Knows which source a value came from."""

    file: Path | None
    text: str
    overrides: Overrides

    def of(self, section: str, key: str | None) -> str:
        """Where the value that counts was found, for the start of a message."""
        name = f"[{section}]" if key is None else f"[{section}] {key}"
        if key is not None and key in self.overrides.get(section, {}):
            return FLAGS.get((section, key), name)
        variable = f"{PREFIX}{section}__{key}".upper()
        if variable in VARIABLES and os.environ.get(variable):
            return variable
        line = line_of(self.text, section, key)
        if self.file is not None and line is not None:
            return f"{self.file}:{line}: {name}"
        return name


def _explain(error: ErrorDetails, places: _Places) -> Problem:
    section, key = str(error["loc"][0]), None
    if len(error["loc"]) > 1:
        key = str(error["loc"][1])
    where = places.of(section, key)
    match error["type"]:
        case "extra_forbidden":
            return Problem(where, "is not a section.", _closest(section, SECTIONS))
        case "unexpected_keyword_argument":
            return Problem(where, "is not a setting.", _closest(str(key), KINDS[section]))
        case "dataclass_type":
            return Problem(
                where, "is a section and not a value.", f"Write [{section}] above its settings."
            )
        case "tuple_type":
            remedy = 'In the environment lists are JSON: ["a", "b"].'
            return Problem(where, "must be a list.", remedy)
        case _:
            return Problem(where, error["msg"].replace("Input should be", "must be") + ".", "")


def _unknown_variables() -> Iterator[Problem]:
    """A variable of ours that names nothing is a setting that someone believes is on."""
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in VARIABLES:
            yield Problem(
                variable, "(environment) is not a setting.", _closest(variable, VARIABLES)
            )


def _closest(name: str, known: Iterable[str]) -> str:
    found = get_close_matches(name, [name for name in known if not name.startswith("_")], 1)
    return f"Did you mean {found[0]}?" if found else "See `ksmp-relay config show`."
