"""An experiment on paper: a history of sends whose times are made up."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from bench.checker.digests import Envelope
from bench.history import Recorder

MS = 1_000_000
WALL_MS = 1_790_000_000_000
BASELINE_S, FAULT_S, SECONDS = 10.0, 10.0, 25.0
BEGAN_S = 1.0
"""Since the history's beginning, when the baseline began."""


class Paper:
    """Conversation n is of the users 2n and 2n + 1; times are seconds since the baseline began."""

    def __init__(
        self,
        path: Path,
        *,
        conversations: int = 2,
        victims: tuple[int, ...] = (0,),
        sync_ms: int = 0,
    ) -> None:
        self.path = path
        self._now = 0
        self._steps: list[tuple[float, int, Callable[[], None]]] = []
        self._recorder = Recorder(
            path,
            relay="on paper",
            seed=1,
            configuration={"seconds": SECONDS},
            now_ns=lambda: self._now,
            wall_ns=lambda: WALL_MS * MS,
        )
        for number in range(2 * conversations):
            self._connect(f"u{number}")
        self._conversations = [
            self._recorder.conversation(f"c{number}", f"u{2 * number}", f"u{2 * number + 1}")
            for number in range(conversations)
        ]
        self._content = self._recorder.content(b"sealed")
        self._sent: list[int] = []
        self._seqs = [0] * conversations
        windows: list[int] = []
        struck = tuple(self._conversations[victim] for victim in victims)
        self._at(0.0, lambda: windows.append(self._recorder.begin("baseline", struck)))
        self._at(BASELINE_S, lambda: self._recorder.end(windows[0]))
        self._at(BASELINE_S, lambda: windows.append(self._recorder.begin("flood", struck, sync_ms)))
        self._at(BASELINE_S + FAULT_S, lambda: self._recorder.end(windows[1]))

    def send(
        self,
        conversation: int,
        meant_s: float,
        *,
        late_s: float = 0.0,
        acked_after_s: float | None = 0.001,
        refused_after_s: float | None = None,
        delivered_after_s: float | None = None,
    ) -> None:
        """A send, and what became of it: all after when it was meant to be sent."""
        number = len(self._sent)
        self._sent.append(-1)
        self._at(meant_s + late_s, lambda: self._offer(number, conversation, round(late_s * 1e9)))
        if refused_after_s is not None:
            self._at(meant_s + refused_after_s, lambda: self._refuse(number, conversation))
        if acked_after_s is not None:
            self._at(meant_s + acked_after_s, lambda: self._ack(number))
        if delivered_after_s is not None:
            self._at(meant_s + delivered_after_s, lambda: self._deliver(number, conversation))

    def read_back(self, user: int, at_s: float) -> None:
        """A final read of this user, which is told the last record of its conversation again."""

        def read() -> None:
            connection = self._connect(f"u{user}", is_final=True)
            self._show(connection, len(self._sent) - 1, user // 2)

        self._at(at_s, read)

    def write(self) -> Path:
        """Everything, in the order of time."""
        for at_s, _, step in sorted(self._steps, key=lambda one: one[:2]):
            self._now = round((BEGAN_S + at_s) * 1e9)
            step()
        self._now = max(self._now, round((BEGAN_S + SECONDS) * 1e9))
        self._recorder.close()
        return self.path

    def _at(self, at_s: float, step: Callable[[], None]) -> None:
        self._steps.append((at_s, len(self._steps), step))

    def _connect(self, user: str, *, is_final: bool = False) -> int:
        connection = self._recorder.connected(
            self._recorder.user(user), device="d", subprotocol="ksmpv3.msgpack", epoch="e", head=0
        )
        self._recorder.resume(connection, 0, is_final=is_final)
        return connection

    def _offer(self, number: int, conversation: int, late_ns: int) -> None:
        self._sent[number] = self._recorder.send(
            2 * conversation,
            self._conversations[conversation],
            self._content,
            created_ms=WALL_MS,
            message_id=f"m{number}",
            late_ns=late_ns,
        )

    def _refuse(self, number: int, conversation: int) -> None:
        self._recorder.fail(
            self._sent[number],
            code="overloaded",
            action="retry",
            retry_after_ms=1_000,
            message="The relay is busy.",
        )
        self._sent[number] = self._recorder.again(2 * conversation, self._sent[number])

    def _ack(self, number: int) -> None:
        self._recorder.ok(
            self._sent[number],
            server_seq=number + 1,
            received_ms=WALL_MS,
            chain=bytes(32),
            raw=b"ack",
        )

    def _deliver(self, number: int, conversation: int) -> None:
        for side in (0, 1):  # to the sender as well
            if side:
                self._now += round(1e6)
            self._show(2 * conversation + side, number, conversation)

    def _show(self, connection: int, number: int, conversation: int) -> None:
        sender, recipient = f"u{2 * conversation}", f"u{2 * conversation + 1}"
        envelope = Envelope(
            f"c{conversation}",
            f"m{number}",
            sender,
            recipient,
            "text",
            WALL_MS,
            f"m{number}",
            sha256(b"sealed").digest(),
        )
        frame = self._recorder.frame(
            envelope,
            global_inbox_seq=number + 1,
            previous=number,
            server_seq=number + 1,
            received_ms=WALL_MS,
            chain=bytes(32),
            raw=b"frame",
        )
        self._recorder.frames(connection, (frame,))
