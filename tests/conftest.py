"""What holds for all tests: async ones run under Trio, Ctrl-C works, a skipped one can be made to
count, and what bystanders have measured is told at the end."""

from __future__ import annotations

import inspect
import signal
from pathlib import Path

import pytest

from tests.edge import latency


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips", action="store_true", help="fail when a test was skipped or expected to fail"
    )
    parser.addoption(
        "--edge-json", metavar="FILE", help="write what was measured beside bad input to FILE"
    )


def pytest_configure() -> None:
    """Let Ctrl-C mean something to what tests start, however the tests were started.

    A shell has its background jobs ignore it, and whatever they start inherits that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark async tests for Trio, unless they ask for anyio and with it for both event loops.

    pytest-trio's own `trio_mode` would take those as well, and break them. Files with slow tests
    come first, so that in the end no process waits long for the other.
    """
    for item in items:
        if not isinstance(item, pytest.Function) or item.get_closest_marker("anyio"):
            continue
        function = getattr(item.obj, "hypothesis", item.obj)
        function = getattr(function, "inner_test", function)
        if inspect.iscoroutinefunction(function):
            item.add_marker(pytest.mark.trio)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell how soon bystanders were answered while others sent bad input, if that was tried."""
    passed = terminalreporter.stats.get("passed", ())
    groups = latency.summed_up(
        found for report in passed if report.when == "call" for found in report.user_properties
    )
    for line in latency.lines(groups):
        terminalreporter.write_line(line)
    path = config.getoption("--edge-json")
    if path and groups:
        latency.write(groups, Path(path))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
    """With `--no-skips`, a suite that left something out has failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not session.config.getoption("--no-skips"):
        return
    left_out = len(reporter.stats.get("skipped", ())) + len(reporter.stats.get("xfailed", ()))
    if left_out and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
