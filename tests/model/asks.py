"""What was asked at once, and whether the answers are the ones the ledger allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.model.device import Device
from tests.model.ledger import Facts, Ledger, Reader, Talk, require, talk_of_envelope
from tests.wire import messages
from tests.wire.codecs import Event


@dataclass
class Offer:
    """One envelope offered by one device, and what it was answered."""

    device: Device
    envelope: Event
    answer: Event | None = None

    @property
    def talk(self) -> Talk:
        """The conversation it is for."""
        return talk_of_envelope(self.envelope)

    @property
    def is_acked(self) -> bool:
        """Whether it is promised to be stored."""
        return self.answer is not None and self.answer["type"] == "ksmpv3.send.ack"

    def facts(self) -> Facts:
        """What the ack says about the record."""
        assert self.answer is not None
        return Facts(self.answer["serverSeq"], self.answer["serverReceivedAtMs"])


@dataclass
class Marking:
    """One read acknowledgement by one device, and whether it was answered."""

    device: Device
    talk: Talk
    seq: int
    private: bool
    refusal: str | None = None
    is_answered: bool = False

    @property
    def event(self) -> Event:
        """What is sent."""
        private: Event = {"private": True} if self.private else {}
        peer = self.talk.peer_of(self.device.user)
        return messages.ack_read(self.talk.name, peer, self.seq, **private)


@dataclass
class Asked:
    """Everything of one burst, in order."""

    offers: list[Offer] = field(default_factory=list)
    markings: list[Marking] = field(default_factory=list)
    pings: list[tuple[Device, str]] = field(default_factory=list)

    def devices(self) -> list[Device]:
        """Who asked, each once."""
        everyone = [offer.device for offer in self.offers]
        everyone += [marking.device for marking in self.markings]
        everyone += [device for device, _ in self.pings]
        return list(dict.fromkeys(everyone))

    def collect(self) -> None:
        """Match the answers that have come with what was asked."""
        for device in self.devices():
            device.collect()
            for answer in device.take_answers():
                self._match(device, answer)
        for marking in self.markings:
            if not marking.is_answered:
                self._match_read(marking)

    def _match(self, device: Device, answer: Event) -> None:
        match answer["type"]:
            case "ksmpv3.pong":
                self.pings.remove((device, answer["nonce"]))
            case "ksmpv3.send.ack":
                self._offer_of(device, answer).answer = answer
            case "ksmpv3.error" if answer.get("about", {}).get("type") == "ksmpv3.send":
                self._offer_of(device, answer["about"]).answer = answer
            case "ksmpv3.error" if answer.get("about", {}).get("type") == "ksmpv3.ack.read":
                name = answer["about"]["conversationId"]
                open_ones = [
                    one
                    for one in self.markings
                    if one.device is device and one.talk.name == name and not one.is_answered
                ]
                require(bool(open_ones), f"{device} asked for no {answer}")
                open_ones[0].is_answered = True
                open_ones[0].refusal = answer["code"]
            case _:
                require(holds=False, what=f"{device} asked for no {answer}")

    def _offer_of(self, device: Device, ids: Event) -> Offer:
        names = ("conversationId", "recipientUserId", "messageId", "idempotencyKey")
        for offer in self.offers:
            is_asked = all(offer.envelope[name] == ids[name] for name in names)
            if offer.device is device and offer.answer is None and is_asked:
                return offer
        require(holds=False, what=f"{device} asked nothing that {ids} answers")
        raise AssertionError

    def _match_read(self, marking: Marking) -> None:
        device = marking.device
        wanted = (marking.talk.name, device.user, marking.talk.peer_of(device.user))
        for read in device.reads_in_waiting():
            names = ("conversationId", "readerUserId", "peerUserId")
            if tuple(read[name] for name in names) == wanted and read["serverSeq"] >= marking.seq:
                marking.is_answered = True

    @property
    def is_answered(self) -> bool:
        """Whether nobody waits any more."""
        return (
            all(offer.answer is not None for offer in self.offers)
            and all(marking.is_answered for marking in self.markings)
            and not self.pings
        )

    def in_doubt(self) -> Asked:
        """What has no answer, or one that says no more than that."""
        return Asked(
            [offer for offer in self.offers if offer.answer is None],
            [marking for marking in self.markings if not marking.is_answered],
        )


@dataclass(frozen=True)
class Weather:
    """What may have come between question and answer."""

    is_full: bool
    refusals: Mapping[Talk, frozenset[str]]

    def allows(self, talk: Talk, answer: Event | None) -> bool:
        """Whether a failing actor explains this refusal."""
        return answer is not None and answer.get("code") in self.refusals.get(talk, ())


Key = tuple[str, Talk, str]
Stored = Mapping[Key, tuple[Event, Facts]]


def key_of(envelope: Event) -> Key:
    """What makes a send unique: sender, conversation, idempotency key."""
    return envelope["senderUserId"], talk_of_envelope(envelope), envelope["idempotencyKey"]


def acknowledged(ledger: Ledger, offers: Sequence[Offer]) -> dict[Key, tuple[Event, Facts]]:
    """What these acks say is stored and the ledger does not know yet."""
    new: dict[Key, tuple[Event, Facts]] = {}
    for offer in offers:
        if offer.is_acked and ledger.known(offer.envelope) is None:
            new.setdefault(key_of(offer.envelope), (offer.envelope, offer.facts()))
    return new


def judge_offers(ledger: Ledger, offers: Sequence[Offer], stored: Stored, weather: Weather) -> None:
    """`stored` goes to the ledger; every answered offer has the one right answer."""
    _require_order(ledger, offers, stored, weather)
    ledger.commit(stored.values())
    for offer in offers:
        if offer.answer is not None and not weather.allows(offer.talk, offer.answer):
            _judge(ledger, offer, weather)


def _judge(ledger: Ledger, offer: Offer, weather: Weather) -> None:
    record = ledger.known(offer.envelope)
    answer = offer.answer
    assert answer is not None
    if record is None:
        require(weather.is_full, f"{offer.envelope} is not stored, and answered {answer}")
        require(answer.get("code") == "storage_full", answer)
    elif record.envelope == offer.envelope:
        require(answer == record.ack(), f"{answer} for {record}")
    else:
        require(answer.get("code") == "idempotency_conflict", f"{answer} for {record}")
    if answer["type"] == "ksmpv3.error":
        require(answer["about"] == messages.about_send(offer.envelope), answer)


def _require_order(
    ledger: Ledger, offers: Sequence[Offer], stored: Stored, weather: Weather
) -> None:
    """What one connection sends to one conversation is numbered in that order.

    And of two payloads that one connection offers under one key, the first is stored.
    """
    asked: dict[Key, list[Offer]] = {}
    for offer in offers:
        if ledger.known(offer.envelope) is None:
            asked.setdefault(key_of(offer.envelope), []).append(offer)
    last: dict[tuple[int, Talk], int] = {}
    for key, rivals in asked.items():
        is_alone = len({id(one.device) for one in rivals}) == 1
        is_calm = not any(weather.allows(one.talk, one.answer) for one in rivals)
        if not (is_alone and is_calm and key in stored):
            continue
        envelope, facts = stored[key]
        require(envelope == rivals[0].envelope, f"{envelope} stored before {rivals[0]}")
        line = (id(rivals[0].device), rivals[0].talk)
        require(facts.server_seq > last.get(line, 0), f"{facts} before {last.get(line)}")
        last[line] = facts.server_seq


def judge_markings(
    ledger: Ledger, markings: Sequence[Marking], weather: Weather, before: Mapping[str, int]
) -> list[tuple[str, Reader]]:
    """Every answered mark has the right answer; who is to be told that whose position rose.

    `before` are the heads of the inboxes before the burst.
    """
    told: list[tuple[str, Reader]] = []
    for marking in markings:
        talk, user, seq = marking.talk, marking.device.user, marking.seq
        if not marking.is_answered or marking.refusal in weather.refusals.get(talk, ()):
            continue
        if seq > ledger.head(talk) or not ledger.head(talk):
            require(marking.refusal == "invalid_seq", marking)
        elif weather.is_full and ledger.would_rise(talk, user, seq, private=marking.private):
            require(marking.refusal == "storage_full", marking)
        else:
            require(marking.refusal is None, marking)
            told += ledger.rise(talk, user, seq, private=marking.private, before=before)
            own = ledger.mark(Reader(talk, user, True)).seq
            answers = [read["serverSeq"] for read in marking.device.reads_in_waiting()]
            require(own in answers, f"{own} is read, not one of {answers}: {marking}")
    return told
