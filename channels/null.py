"""A provider that answers at once: what sending costs when the wire costs nothing."""

from collections.abc import Sequence

from channels.contract import Blame, Capabilities, Envelope, Outcome, OutcomeKind
from channels.letters import Raw

YES = Outcome(OutcomeKind.ACCEPTED)


class NullProvider:
    """Accepts every letter that can be filled, and forgets it."""

    name = "null"
    capabilities = Capabilities(
        largest_batch=5_000, wire_batch=500, webhooks=False, lookup=False, attachments=True
    )

    async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
        return [answer(letter, envelope) for envelope in batch]

    async def close(self) -> None:
        return None

    async def check(self) -> str | None:
        return None


def answer(letter: Raw, envelope: Envelope) -> Outcome:
    try:
        letter.fill(envelope)
    except Exception as error:  # noqa: BLE001 - the contract: what is wrong with one message stops no other
        return Outcome(
            OutcomeKind.REJECTED, reason=f"The letter could not be filled: {error}", blame=Blame.MESSAGE
        )
    return YES
