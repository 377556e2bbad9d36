"""A wall clock that is wrong, by up to ten years: nothing is ordered by it, nobody is turned out.

The relay asks the C library for the time, and a few lines of C that are loaded before it answer
with an offset out of a file. So it is the whole process whose clock is wrong, TLS and tokens and
all; clocks that measure durations are not touched. Time namespaces cannot do this: they shift only
those.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.relay_of_its_own import PROGRAM
from bench.torture.errors import NotPossibleError
from bench.torture.fault import Fault
from bench.torture.scene import Scene

TIMES: Final = 4
MOST_SECONDS: Final = 10 * 365 * 86_400
NEAR_SECONDS: Final = 60.0
OFFSET: Final = "clock-offset"

SOURCE: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <sys/time.h>
#include <unistd.h>

static time_t offset(void) {
  char text[32] = {0};
  int file = open(OFFSET_FILE, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
  close(file);
  return atoll(text);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
  int code = real(clock, now);
  if (!code && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    now->tv_sec += offset();
  return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  int code = clock_gettime(CLOCK_REALTIME, &exact);
  (void)zone;
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return code;
}

time_t time(time_t *into) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (into) *into = exact.tv_sec;
  return exact.tv_sec;
}
"""


def compiler_lacks() -> str | None:
    """What `Fault.lacks` says where no such library can be made."""
    return None if shutil.which("cc") else "there is no C compiler, for a clock that is wrong"


def with_a_wrong_clock(directory: Path) -> Sequence[str]:
    """The relay, with a clock that is off by what the file says.

    Raises:
        NotPossibleError: the library cannot be made.
    """
    source, library = directory / "clock.c", directory / "clock.so"
    source.write_text(SOURCE)
    offset = f'-DOFFSET_FILE="{directory / OFFSET}"'
    words = ["cc", "-shared", "-fPIC", "-O1", offset, "-o", str(library), str(source), "-ldl"]
    made = subprocess.run(words, capture_output=True, check=False)
    if made.returncode:
        raise NotPossibleError(f"cc: {made.stderr.decode(errors='replace')[-200:]}")
    return ("env", f"LD_PRELOAD={library}", *PROGRAM)


async def wrong(scene: Scene) -> None:
    """The wall clock steps by up to ten years, forth and back, under load and over kills.

    Numbers go on in the order of the sends, also where the time of receipt goes back.
    """
    for _ in range(scene.times(TIMES)):
        seconds = scene.chance.randrange(-MOST_SECONDS, MOST_SECONDS)
        _shift(scene, seconds)
        await scene.crowd.acks(30)
        scene.crowd.all_come_back()
        await scene.crowd.acks(10)
        if scene.chance.random() < 0.5:
            await scene.kill_and_start()
            await scene.crowd.acks(10)
        _require_shown(scene, seconds)
        scene.tally["steps"] += 1
    _shift(scene, 0)


def _shift(scene: Scene, seconds: int) -> None:
    new = scene.directory / f"{OFFSET}.new"
    new.write_text(str(seconds))
    new.replace(scene.directory / OFFSET)


def _require_shown(scene: Scene, seconds: int) -> None:
    """The relay has really been deceived: an ack says when it was received."""
    is_off = any(abs(off - seconds) < NEAR_SECONDS for off in scene.crowd.clocks_off_seconds)
    scene.require(is_off, f"nobody sees that its clock is off by {seconds} s")


FAULTS: Final = (
    Fault(name="clock", strike=wrong, lacks=compiler_lacks, program=with_a_wrong_clock),
)
