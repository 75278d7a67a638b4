"""One try of a delivery: signed and posted, and what was answered in words that may be kept."""

import asyncio
from collections.abc import Callable

import structlog
from httpx2 import HTTPError

from channels.calls import printable, retry_after, words
from channels.discretion import SHORTEST, Secrets
from channels.egress import EgressRefused, EgressTransport, Overburdened
from channels.posts import Answered, Poster
from channels.signing import Signer
from domain.channels import Channel
from domain.clock import Clock, SystemClock
from domain.deliveries import LONGEST_ANSWER, Try
from domain.failures import discreet
from domain.secrets import CannotOpen, Sealer
from domain.staging import Staging
from models.queries.webhook_deliveries import Claimed, Ready

GONE = 410
log = structlog.get_logger()

HELD_BACK = "Held back: CAMPANILE_DELIVER_ONLY_TO does not name this address."


class Outside:
    """What every call is made with. One for a process."""

    def __init__(
        self,
        guard: Callable[[], EgressTransport],
        sealer: Sealer,
        staging: Staging | None = None,
        wall: Clock | None = None,
    ) -> None:
        """`wall` is the clock that receivers hold signatures against: the system's, unless it is given."""
        self.guard, self.sealer = guard, sealer
        self.staging = staging or Staging()
        self.wall = wall or SystemClock()


class Caller:
    """Calls one webhook as it is set up now."""

    def __init__(self, outside: Outside, webhook: Ready) -> None:
        self.webhook = webhook
        self._outside = outside
        self._poster = Poster(outside.guard(), webhook.url)
        self._signer: Signer | None = None
        self._secrets = Secrets(())

    def _open(self) -> Signer:
        """Raises `CannotOpen`, and ValueError for what is no secret."""
        if self._signer is None:
            sealed = (self.webhook.secret, self.webhook.old_secret)
            belongs_to = f"webhook:{self.webhook.id}"
            opened = [self._outside.sealer.open(each, belongs_to) for each in sealed if each]
            self._signer = Signer(*opened)
            self._secrets = Secrets([*opened, *(each.removeprefix("whsec_") for each in opened)])
        return self._signer

    async def call(self, delivery: Claimed, clock: Clock) -> Try:
        """Post it once. Never raises for what happens there."""
        at, began = clock.now(), asyncio.get_running_loop().time()
        if not self._outside.staging.may(Channel.WEBHOOK, self.webhook.url):
            return Try(at, 0, reason=HELD_BACK, hopeless=True, blameless=True)
        body = delivery.body.encode()
        try:
            headers = self._open().headers(str(delivery.id), body, self._outside.wall.now())
        except CannotOpen as error:
            return Try(at, 0, reason=str(error), blameless=True)
        except ValueError:
            return Try(at, 0, reason="The webhook's secret can't be used: rotate it.", hopeless=True)
        try:
            answer = await self._poster.post(headers, body)
            return self._read(Try(at, _since(began)), answer)
        except EgressRefused as error:
            return Try(at, _since(began), reason=self._said(error.message), hopeless=True)
        except HTTPError as error:
            ours = isinstance(error, Overburdened)
            return Try(
                at, _since(began), reason=self._said(f"There was no answer: {words(error)}"), blameless=ours
            )
        except Exception as error:  # noqa: BLE001 - what one receiver does to us must not stop the others
            log.error(
                "A webhook's answer was too much for us",
                webhook=str(self.webhook.id),
                error=type(error).__name__,
            )
            return Try(at, _since(began), reason="What it answered can't be read.")

    def _read(self, tried: Try, answer: Answered) -> Try:
        status = answer.status
        good = 200 <= status < 300
        moved = ": it sends us elsewhere, and we don't follow" if 300 <= status < 400 else ""
        return Try(
            tried.at,
            tried.seconds,
            status=status,
            reason=None if good else f"The receiver answered {status}{moved}",
            answer=self._said(answer.body.decode("utf-8", "replace")) if answer.body else "",
            gone=status == GONE,
            retry_after=None if good else retry_after(answer.headers),
        )

    def _said(self, theirs: str) -> str:
        """A stranger's words, as they may be kept and shown: they may repeat what they were told."""
        plain = "".join(each if each.isprintable() else " " for each in theirs)
        if len(plain) < SHORTEST:
            return plain.strip()
        return printable(discreet(self._secrets.struck_from(plain)))[:LONGEST_ANSWER]

    def close(self) -> None:
        self._poster.close()


def _since(began: float) -> float:
    return asyncio.get_running_loop().time() - began
