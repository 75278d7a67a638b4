"""The channel that costs nothing still does the work of a message."""

from channels.null import NullProvider
from tests.channels.smtp_support import ACCEPTED, REJECTED, ALetter, envelope, kinds


async def test_it_accepts_what_can_be_filled_and_rejects_what_can_not() -> None:
    channel = NullProvider()
    outcomes = await channel.send(ALetter(), [envelope(1), envelope(2, None, "broken"), envelope(3)])
    assert kinds(outcomes) == [ACCEPTED, REJECTED, ACCEPTED]
    assert "there is no first name" in (outcomes[1].reason or "")
    assert await channel.check() is None
    await channel.close()
