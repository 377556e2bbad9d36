"""How the project is built: what may call what, what no file may say, what is pinned."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("ksmp", "storage", "actors", "relay")

FORBIDDEN_MODULES: Final = {
    "time",
    "random",
    "secrets",
    "uuid",
    "socket",
    "threading",
    "multiprocessing",
    "subprocess",
    "concurrent",
    "asyncio",
    "queue",
}
FORBIDDEN_NAMES: Final = {
    "os.urandom",
    "os.getrandom",
    "os.fork",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "trio.to_thread",
    "trio.from_thread",
    "trio.socket",
    "trio.open_tcp_listeners",
    "trio.open_tcp_stream",
    "trio.serve_tcp",
    "anyio.to_thread",
}
EXEMPT: Final = {
    # file → what it may use, and the reason
    "relay/system.py": {"*"},  # where the real world is handed in from
    "relay/app.py": {"*"},  # wires it in
    "relay/listening.py": {"socket", "trio.socket"},  # opens the sockets that are handed in
    "relay/admin/http_server.py": {"socket"},  # speaks over sockets that are handed in
    "relay/admin/listener.py": {"socket"},  # only the type
    "relay/transport/stream.py": {"trio.socket"},  # speaks over sockets that are handed in
    "relay/telemetry.py": {"threading"},  # only the hook for what ends a thread
}


def python_files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


@cache
def text_files() -> list[Path]:
    """Every file of the project itself: neither built, nor installed, nor written by a run."""
    folders = [ROOT / name for name in (*PACKAGES, "bench", "tests", "docs", ".ci")]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    files += [file for file in ROOT.iterdir() if file.is_file() and file.name != ".coverage"]
    no_text = (".bin", ".pyc", ".png", ".svg", ".xz")
    return sorted(file for file in files if file.suffix not in no_text)


def uses(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of every forbidden module or function that the source imports or names."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module), level=0):
                names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            case ast.Attribute():
                names = [ast.unparse(node)]
        for name in names:
            is_module = not isinstance(node, ast.Attribute)
            assert isinstance(node, ast.stmt | ast.expr)
            if is_module and name.partition(".")[0] in FORBIDDEN_MODULES:
                yield node.lineno, name.partition(".")[0]
            for forbidden in FORBIDDEN_NAMES:
                if name == forbidden or name.endswith(f".{forbidden}"):
                    yield node.lineno, forbidden


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", ["time"]),
        ("from time import monotonic as clock", ["time"]),
        ("import os\nos.urandom(3)", ["os.urandom"]),
        ("from os import urandom", ["os.urandom"]),
        ("import trio\nasync def f():\n    await trio.to_thread.run_sync(f)", ["trio.to_thread"]),
        ("from trio import socket", ["trio.socket"]),
        ("import datetime\ndatetime.datetime.now()", ["datetime.now"]),
        ("import os\nimport trio\ntrio.current_time()\nos.fsync(3)", []),
        ("class A:\n    time = 1\nA.time", []),
    ],
)
def test_the_check_for_clocks_chance_and_threads_finds_them(source, found):
    assert sorted({name for _, name in uses(source)}) == found


def test_clocks_chance_sockets_and_threads_are_handed_in():
    found = [
        f"{path}:{line} uses {name}"
        for file in python_files(*PACKAGES)
        if (path := file.relative_to(ROOT).as_posix())
        for line, name in uses(file.read_text(encoding="utf-8"))
        if not {"*", name} & EXEMPT.get(path, set())
    ]

    assert found == []


FOREIGN: Final = {
    "a registry's address": (
        r"(pypi|pythonhosted|npmjs|debian|crates)\.(org|com|io)|index-url|/simple/"
    ),
    "a path of one machine": r"(?<![\w.-])/(work|root|home/\w+|tmp/v)(/|\b(?!\w))",
    "how the project is made": (
        r"\bissue #?\d+\b|\bthe (brief|prompt|ticket)\b|\.\./shared|\bshared/\w+\.md"
    ),
}


@pytest.mark.parametrize(
    "text",
    [
        "--index-url https://mirror.example",
        "from https://pypi.org/project",
        "see /work/main/file",
        "cd /root",
        "as the brief says",
        "for issue 12",
        "read ../shared",
    ],
)
def test_the_check_for_foreign_talk_finds_it(text):
    assert any(re.search(pattern, text, re.IGNORECASE) for pattern in FOREIGN.values())


@pytest.mark.parametrize("what", FOREIGN)
def test_the_project_speaks_of_itself_alone(what):
    pattern = re.compile(FOREIGN[what], re.IGNORECASE)

    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in text_files()
        if file != Path(__file__)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]

    assert found == []


@pytest.mark.parametrize(
    "name",
    ["requirements.txt", "requirements-dev.txt", "requirements-bench.txt", "requirements-fuzz.txt"],
)
def test_every_pin_is_a_name_and_a_version(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]

    marker = r'(; python_version (<|>=) "3\.\d+")?'
    wrong = [pin for pin in pins if not re.fullmatch(rf"[\w.-]+==[\w.]+{marker}", pin)]

    assert pins
    assert wrong == []
    assert pins == list(dict.fromkeys(pins))


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(*files: str) -> set[str]:
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in files)
    return {normalised(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def test_everything_that_the_package_depends_on_is_pinned_for_make_run():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["dependencies"] + project["build-system"]["requires"]
    names = {normalised(re.split(r"[<>=!~;\[ ]", one, maxsplit=1)[0]) for one in wanted}

    assert names - pinned("requirements.txt") == set()


def test_everything_that_is_imported_is_declared():
    import sys

    modules = {"hdrh": "hdrhistogram", "pydantic_core": "pydantic", "importlib": "importlib"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {
        normalised(re.split(r"[<>=!~;\[ ]", one, maxsplit=1)[0])
        for one in project["project"]["dependencies"]
    }
    own = {*PACKAGES, "bench", "tests"}

    undeclared = set()
    for file in python_files(*PACKAGES, "bench"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names: list[str] = []
            match node:
                case ast.Import():
                    names = [alias.name for alias in node.names]
                case ast.ImportFrom(module=str(module), level=0):
                    names = [module]
            for name in (name.partition(".")[0] for name in names):
                if name in sys.stdlib_module_names or name in own:
                    continue
                if normalised(modules.get(name, name)) not in declared:
                    undeclared.add(f"{file.relative_to(ROOT)}: {name}")

    assert undeclared == set()


def test_make_help_names_targets_that_exist_and_all_that_are_meant_for_people():
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    targets = re.findall(r"^  make ([\w-]+) ", shown, re.MULTILINE)

    for target in targets:
        subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True, timeout=60
        )
    assert {"run", "test", "test-all", "format", "bench", "help", "clean"} <= set(targets)


def test_no_file_of_the_code_is_longer_than_a_reader_can_hold():
    long = [
        f"{file.relative_to(ROOT)}: {count}"
        for file in python_files(*PACKAGES, "bench")
        if (count := len(file.read_text(encoding="utf-8").splitlines())) > 600
    ]

    assert long == []


def test_no_function_of_the_code_is_longer_than_a_screen():
    long = []
    for file in python_files(*PACKAGES, "bench"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                is_documented = ast.get_docstring(node) is not None
                body = node.body[1] if is_documented and len(node.body) > 1 else node.body[0]
                if node.end_lineno - body.lineno + 1 > 50:
                    long.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.name}")

    assert long == []


def test_the_parts_of_the_name_are_where_the_wheel_looks_for_them():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

    assert packages == [*PACKAGES, "bench"]
    assert all((ROOT / package / "__init__.py").is_file() for package in packages)
    assert (ROOT / "ksmp" / "py.typed").is_file()
