"""Other processes on the same store: each is refused, and the relay does not notice."""

from __future__ import annotations

from typing import Final

from bench.relay_of_its_own import PROGRAM
from bench.torture.fault import Fault
from bench.torture.processes import finished
from bench.torture.scene import Scene
from relay.exits import ExitCode

RIVAL_SECONDS: Final = 60.0
TIMES: Final = 2


async def on_the_same_store(scene: Scene) -> None:
    """A second relay, `verify` and `new-epoch` on the store of one that is under load.

    Each ends at once, says that the store is in use, and changes nothing.
    """
    data = ("--data", str(scene.relay.data))
    for _ in range(scene.times(TIMES)):
        for words in (("serve", *data, "--port", "0", "--admin-port", "0"), ("verify", *data)):
            await _is_refused(scene, *words)
        await _is_refused(scene, "new-epoch", *data)
        await scene.crowd.acks(20)


async def _is_refused(scene: Scene, *words: str) -> None:
    code, _, errors = await finished([*PROGRAM, *words], RIVAL_SECONDS)
    scene.require(code == ExitCode.CANNOT_CREATE, f"{words[0]} ended with exit code {code}")
    scene.require("in use" in errors, f"{words[0]} says: {errors.strip()[-200:]}")
    scene.require(scene.relay.is_running, f"{words[0]} ended the relay")
    scene.tally[f"{words[0]} refused"] += 1


FAULTS: Final = (Fault(name="second-process", strike=on_the_same_store),)
