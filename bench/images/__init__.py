"""Crash images: a real store's system calls, recorded, cut off anywhere, and opened again.

    life          a real store under load, in a process of its own          what is recorded
    tracing       strace's account of that process                          text
    calls         what it did to the files, and what it was told            `recording`
    disk          what a crash at any moment may leave of that              files
    examination   the store opens, keeps its promises, and goes on          problems

`python -m bench.images` does it many times.
"""
