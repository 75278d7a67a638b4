"""A provider for trials: it accepts everything, sends nothing, and later says what would have become of it.

Nine of ten messages are delivered and one fails, the same ones for the same seed. The receipts come from
within: whoever keeps the inbox of webhooks puts there what `receipts` writes, and `reports` reads it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict

from channels import calls
from channels.contract import (
    Account,
    Capabilities,
    Envelope,
    Handshake,
    Hook,
    Kind,
    NotGenuine,
    Outcome,
    OutcomeKind,
    Report,
    ReportKind,
    World,
)
from domain.channels import Channel

FAILS = 0.1  # Of all messages.

CAPABILITIES = Capabilities(
    largest_batch=5_000,
    wire_batch=500,
    webhooks=True,
    lookup=False,
    reports=("delivered", "failed"),
    attachments=True,
)


class SimulatedSettings(BaseModel):
    """Another seed, and others fail."""

    model_config = ConfigDict(extra="forbid")

    seed: int = 0


def receipt(message_id: UUID, seed: int) -> ReportKind:
    """What becomes of this message: delivered, or failed for one of ten."""
    drawn = int.from_bytes(sha256(f"{seed}:{message_id}".encode()).digest()[:8], "big") / 2**64
    return ReportKind.FAILED if drawn < FAILS else ReportKind.DELIVERED


def receipts(message_ids: Sequence[UUID], seed: int, at: datetime) -> bytes:
    """The body of a webhook with the fate of these messages, as `SimulatedProvider.reports` reads it."""
    said = [
        {"message": str(each), "status": receipt(each, seed), "at": at.isoformat()} for each in message_ids
    ]
    return orjson.dumps({"receipts": said})


class SimulatedProvider:
    """An account of one channel with nobody."""

    capabilities = CAPABILITIES

    def __init__(self, name: str, write: Callable[[Any, Envelope], object], seed: int = 0) -> None:
        """`write` fills a letter of the channel: what could not be written would not be accepted, either."""
        self.name = name
        self.write = write
        self.seed = seed

    async def send(self, letter: Any, batch: Sequence[Envelope]) -> list[Outcome]:
        return [self._answer(letter, envelope) for envelope in batch]

    def _answer(self, letter: Any, envelope: Envelope) -> Outcome:
        try:
            calls.fill(lambda each: self.write(letter, each), envelope)
        except calls.Unfillable as error:
            return calls.BAD_MESSAGE.outcome(f"The letter could not be filled: {error}")
        return Outcome(OutcomeKind.ACCEPTED, provider_id=f"simulated-{envelope.id}")

    def receipts(self, message_ids: Sequence[UUID], at: datetime) -> bytes:
        """What to report of these messages, which it accepted, as the body of a webhook."""
        return receipts(message_ids, self.seed, at)

    async def check(self) -> str | None:
        return None

    async def close(self) -> None:
        return None

    async def verify(self, hook: Hook, now: datetime) -> Handshake | None:
        raise NotGenuine("What the simulated provider reports comes from within, and never by HTTP.")

    def reports(self, hook: Hook) -> list[Report]:
        try:
            return [_report(each) for each in calls.object_of(hook.body)["receipts"]]
        except (KeyError, TypeError) as error:
            raise ValueError("These are no receipts of the simulated provider.") from error


def _report(said: dict[str, str]) -> Report:
    kind = ReportKind(said["status"])
    failed = kind is ReportKind.FAILED
    return Report(
        kind,
        datetime.fromisoformat(said["at"]),
        f"{said['message']}:{kind}",
        message_id=UUID(said["message"]),
        provider_id=f"simulated-{said['message']}",
        reason="One of ten fails in a simulation." if failed else None,
    )


_WRITE: dict[Channel, Callable[[Any, Envelope], object]] = {
    Channel.EMAIL: lambda letter, envelope: letter.fill(envelope),
    Channel.SMS: lambda letter, envelope: letter.text(envelope),
    Channel.WHATSAPP: lambda letter, envelope: letter.said(envelope),
    Channel.PUSH: lambda letter, envelope: letter.payload(envelope),
    Channel.WEBHOOK: lambda letter, envelope: letter.payload(envelope),
}


def _kind(channel: Channel) -> Kind:
    name = "simulated" if channel is Channel.EMAIL else f"simulated-{channel}"

    def open_(account: Account, world: World) -> SimulatedProvider:
        seed = account.settings.seed if isinstance(account.settings, SimulatedSettings) else 0
        return SimulatedProvider(name, _WRITE[channel], seed)

    return Kind(
        name=name,
        title=f"Simulated {channel}",
        channel=channel,
        settings=SimulatedSettings,
        capabilities=CAPABILITIES,
        open=open_,
    )


KINDS = tuple(map(_kind, Channel))
