"""Writes a configuration as TOML: to start from, with every setting explained, or as it is."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from relay.config import Config

_Value = str | int | float | bool | Path | tuple[str, ...] | None


def annotated_toml(config: Config) -> str:
    """Every setting, commented out, with its meaning above it: a file to start from."""
    lines = [
        "# ksmp-relay. A line without its # sets what it says; the values here are the defaults.",
        "# A flag wins over KSMP_SECTION__KEY in the environment, which wins over this file.",
    ]
    for name, section in _sections(config):
        lines += ["", f"# {section.__doc__}", f"[{name}]"]
        meanings = setting_meanings(type(section))
        for key, value in _settings(section):
            lines += [
                "",
                *textwrap.wrap(meanings[key], 96, initial_indent="# ", subsequent_indent="# "),
            ]
            lines.append(f"# {key} = {_toml(value)}" if value is not None else f'# {key} = "…"')
    return "\n".join(lines) + "\n"


def plain_toml(config: Config) -> str:
    """The configuration itself; what is off is left out."""
    lines: list[str] = []
    for name, section in _sections(config):
        lines += ["", f"[{name}]"]
        lines += [
            f"{key} = {_toml(value)}" for key, value in _settings(section) if value is not None
        ]
    return "\n".join(lines[1:]) + "\n"


def setting_meanings(section: type) -> dict[str, str]:
    """Setting → the text below it in the source: one place to say what it means."""
    body = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]
    assert isinstance(body, ast.ClassDef)
    meanings: dict[str, str] = {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        match statement, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                meanings[name] = " ".join(text.split())
    return meanings


def _sections(config: Config) -> Iterator[tuple[str, object]]:
    for field in fields(config):
        yield field.name, getattr(config, field.name)


def _settings(section: object) -> Iterator[tuple[str, _Value]]:
    for field in fields(section):  # type: ignore[arg-type]  # every section is a dataclass
        yield field.name, getattr(section, field.name)


def _toml(value: _Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case _:
            # A JSON string is a TOML basic string, once DEL is escaped as well.
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
