"""Which packages lead the fuzzer by their branches. Named before any of them is imported."""

from typing import Final

INSTRUMENTED: Final = ("ksmp", "storage", "actors", "relay", "websockets", "h11", "tests")
"""Ours, what reads a stranger's bytes for us, and the models.

The decoder of events is in C and shows no branches; the model of what it must say does.
"""
