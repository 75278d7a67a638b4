"""Providers that take one message a call: the calls of a batch go side by side, and what an answer means.

What is in an answer's table is for each provider's module; what is not there is the same for all:

| what came back                                | outcome                                                    |
|-----------------------------------------------|------------------------------------------------------------|
| nobody there: no address, refused, no answer  | retry                                                      |
| the connection was lost, or it took too long  | unknown: it may have been accepted                         |
| 429                                           | retry when it says, and the provider rests                 |
| 401, 403, 404                                 | retry much later, "sender: …"; the contact is fine         |
| another 4xx                                   | rejected: the message                                      |
| anything else, 5xx above all                  | unknown                                                    |
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import orjson
from httpx2 import (
    AsyncClient,
    ConnectError,
    ConnectTimeout,
    HTTPError,
    Limits,
    LocalProtocolError,
    PoolTimeout,
    Timeout,
)

from channels import authorities
from channels.contract import SENDERS_FAULT, Blame, Envelope, Outcome, OutcomeKind, ReportKind
from domain.profiles import SuppressionReason
from domain.texts import Word

# All of one call. A batch ends within half a minute, whatever the provider does: a lease lasts a minute.
LONGEST_CALL = 20.0
TIMEOUT = Timeout(15.0, connect=5.0)
SIDE_BY_SIDE = 8  # Calls of one batch, which is no larger.

AFTER_A_CUT = 5.0  # Seconds until the next try: nobody there.
AFTER_A_NOT_NOW = 60.0
AFTER_A_SENDERS_FAULT = 900.0  # Somebody has to mend a password or an account first.
LONGEST_PAUSE = 86_400.0
LONGEST_REASON = 500  # Characters.


# What a person who answers with one of these words wants.
MEANT = {
    Word.STOP: ReportKind.UNSUBSCRIBED,
    Word.START: ReportKind.RESUBSCRIBED,
    Word.HELP: ReportKind.HELP,
}

T = TypeVar("T")


class Unfillable(Exception):
    """This message can't be written; the text says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a provider's error table."""

    kind: OutcomeKind
    blame: Blame = Blame.PROVIDER
    after: float | None = None  # Seconds, where the answer names no time.
    suppress: SuppressionReason | None = None
    calm: bool = False
    sender: bool = False  # Our account, our number, our reputation.

    def outcome(self, reason: str, after: float | None = None) -> Outcome:
        """`after` are the seconds that the answer asks for."""
        said = f"{SENDERS_FAULT}{reason}" if self.sender else reason
        pause = self.after if after is None else after
        return Outcome(
            self.kind,
            reason=printable(said),
            retry_after=pause if self.kind is OutcomeKind.RETRY else None,
            blame=self.blame,
            suppress=self.suppress,
            calm=self.calm,
        )


NOT_NOW = Row(OutcomeKind.RETRY, after=AFTER_A_NOT_NOW)
TOO_FAST = Row(OutcomeKind.RETRY, after=AFTER_A_CUT, calm=True)
SENDER = Row(OutcomeKind.RETRY, after=AFTER_A_SENDERS_FAULT, sender=True)
BAD_MESSAGE = Row(OutcomeKind.REJECTED, Blame.MESSAGE)
BAD_RECIPIENT = Row(OutcomeKind.REJECTED, Blame.RECIPIENT)
NO_SUCH_RECIPIENT = Row(OutcomeKind.REJECTED, Blame.RECIPIENT, suppress=SuppressionReason.HARD_BOUNCE)
OPTED_OUT = Row(OutcomeKind.REJECTED, Blame.RECIPIENT, suppress=SuppressionReason.UNSUBSCRIBED)
NOBODY_KNOWS = Row(OutcomeKind.UNKNOWN)


def by_status(status: int) -> Row:
    """What a status means where nothing more is known: see above."""
    if status == 429:
        return TOO_FAST
    if status in (401, 403, 404):
        return SENDER
    return BAD_MESSAGE if 400 <= status < 500 else NOBODY_KNOWS


def client() -> AsyncClient:
    """A client for calls to one provider, at an address that the operator or its kind gave."""
    return AsyncClient(
        timeout=TIMEOUT,
        limits=Limits(max_connections=100),
        verify=authorities.of_the_web(),
        trust_env=False,
        follow_redirects=False,
    )


async def side_by_side(
    batch: Sequence[Envelope],
    send: Callable[[Envelope], Awaitable[Outcome]],
    blame: Blame = Blame.PROVIDER,
) -> list[Outcome]:
    """Send each; what goes wrong with one is that one's outcome. `blame` has who is at the other end."""

    async def one(envelope: Envelope) -> Outcome:
        try:
            async with asyncio.timeout(LONGEST_CALL):
                return await send(envelope)
        except Unfillable as error:
            return BAD_MESSAGE.outcome(f"The letter could not be filled: {error}")
        except (HTTPError, TimeoutError) as error:
            return lost(error, blame)

    return list(await asyncio.gather(*map(one, batch)))


def fill(write: Callable[[Envelope], T], envelope: Envelope) -> T:
    """What the letter says to this one. Raises `Unfillable`, whatever the letter raises."""
    try:
        return write(envelope)
    except Exception as error:  # The contract: what is wrong with one message stops no other.
        raise Unfillable(str(error)) from error


def lost(error: Exception, blame: Blame = Blame.PROVIDER) -> Outcome:
    """What a call that brought no answer means. `blame` has who should have given one."""
    if isinstance(error, LocalProtocolError):
        return SENDER.outcome(words(error))
    if isinstance(error, ConnectError | ConnectTimeout | PoolTimeout):
        return Row(OutcomeKind.RETRY, blame, after=AFTER_A_CUT).outcome(f"Nobody answers: {words(error)}")
    return Row(OutcomeKind.UNKNOWN, blame).outcome(f"The answer was lost: {words(error)}")


def object_of(body: str | bytes) -> dict[str, Any]:
    """The JSON object that this is. Raises `ValueError`."""
    said = orjson.loads(body)
    if type(said) is not dict:
        raise ValueError("This is no JSON object.")
    return said


def words(error: Exception) -> str:
    """Why a call failed, for people."""
    if isinstance(error, LocalProtocolError):  # It quotes the header that can't be written, and so a key.
        return "The call can't be written as HTTP: enter the account's credentials anew."
    return str(error) or type(error).__name__


def printable(text: str) -> str:
    """A stranger's words as the ledger keeps them."""
    return "".join(each if each.isprintable() else " " for each in text).strip()[:LONGEST_REASON]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, as Retry-After says (RFC 9110 §10.2.3): a number, or a date, which is held against the
    answer's own. None where it says nothing that can be read."""
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return min(float(said[:9]), LONGEST_PAUSE)
    try:
        then, now = (parsedate_to_datetime(text) for text in (said, headers.get("date", "")))
    except (ValueError, TypeError, OverflowError):
        return None
    pause = (then.replace(tzinfo=UTC) - now.replace(tzinfo=UTC)).total_seconds()
    return min(max(pause, 0.0), LONGEST_PAUSE)
