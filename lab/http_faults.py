"""What is to go wrong at a provider of the lab, and when: `POST /lab/faults` takes these."""

from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from random import Random
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Where(StrEnum):
    """What a fault is about."""

    SEND = "send"  # Calls that hand messages over.
    CHECK = "check"  # Calls that look at an account.
    WEBHOOK = "webhook"  # What the lab reports.


class HttpFault(BaseModel):
    """One thing that goes wrong. One that changes nothing lets the call pass, and counts.

    A `status` answers in the provider's own shape, or with `body`, and nothing is accepted, unless `keep` is
    set. Without a status, `code` and `partial` refuse single recipients: an SES entry gets the code as its
    status, SendGrid names a personalization in a 400, Twilio and WhatsApp answer with the code. About
    webhooks, it strikes once for all events of a provider that are due together.
    """

    model_config = ConfigDict(extra="forbid")

    provider: str = "*"  # Such as "ses"; a pattern (`fnmatch`).
    at: Where = Where.SEND
    status: int | None = None  # Of HTTP.
    code: str | None = Field(default=None, coerce_numbers_to_str=True)  # In the provider's words.
    body: Any = None  # Instead of the usual one: a text, or what JSON is made of.
    headers: dict[str, str] = {}
    latency: float = 0  # Seconds between acceptance, or refusal, and the answer.
    cut: Literal["before", "after"] | None = None  # Hang up without an answer; "after" has accepted.
    lost_reply: bool = False  # The same as cut "after".
    hang: bool = False  # Never answer, and keep the connection open.
    keep: bool = False  # With a status or a hang: the messages are accepted nevertheless.
    partial: float | None = None  # The share of matching recipients that is refused, from 0 to 1.
    recipient: str = "*"  # Only for addresses that match this (`fnmatch`).
    after: int = 0  # How often it is passed by before the fault begins.
    times: int | None = None  # How often it strikes; None is always.

    wrong_signature: bool = False  # Webhooks: signed with a key that nobody knows.
    stale: float = 0  # Webhooks: how many seconds ago they claim to be signed.
    duplicates: int = 0  # Webhooks: how often each is sent again, word for word.
    disorder: bool = False  # Webhooks: the events that are due together are shuffled.

    id: int = 0
    struck: int = 0

    @model_validator(mode="after")
    def about_webhooks(self) -> "HttpFault":
        if self.wrong_signature or self.stale or self.duplicates or self.disorder:
            self.at = Where.WEBHOOK
        if self.lost_reply:
            self.cut = "after"
        return self

    def concerns(self, address: str) -> bool:
        return self.recipient == "*" or fnmatchcase(address, self.recipient)

    def refused(self, recipients: Sequence[str], dice: Random) -> frozenset[int]:
        """Which recipients are refused one by one, by their places."""
        if self.status is not None or (self.partial is None and self.code is None):
            return frozenset()
        share = 1.0 if self.partial is None else self.partial
        chosen = enumerate(recipients)
        return frozenset(at for at, one in chosen if self.concerns(one) and dice.random() < share)


class HttpFaults:
    """What is to go wrong, first come, first served."""

    def __init__(self) -> None:
        self.pending: list[HttpFault] = []
        self.last = 0

    def add(self, fault: HttpFault) -> HttpFault:
        self.last += 1
        fault.id = self.last
        self.pending.append(fault)
        return fault

    def clear(self, provider: str | None = None) -> None:
        self.pending = [one for one in self.pending if provider is not None and one.provider != provider]

    def strike(self, provider: str, where: Where, recipients: Sequence[str] = ()) -> HttpFault | None:
        """The fault that strikes now, if any; it is counted down."""
        for fault in self.pending:
            if fault.at is not where or fault.times == 0 or not fnmatchcase(provider, fault.provider):
                continue
            if fault.recipient != "*" and not any(fault.concerns(one) for one in recipients):
                continue
            if fault.after:
                fault.after -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
            fault.struck += 1
            return fault
        return None
