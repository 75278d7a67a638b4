"""The best way to reach somebody with one message: of those that are open, the one they last reacted on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.channels import Channel
from domain.messages import MessageClass
from domain.profiles import SuppressionReason

# Where nobody has reacted to anything yet. What has addresses of its own is never guessed.
ORDER = (Channel.EMAIL, Channel.WHATSAPP, Channel.SMS, Channel.PUSH)


@dataclass(frozen=True, slots=True)
class Way:
    """One channel to one person."""

    channel: Channel
    address: str | None = None
    suppressed: SuppressionReason | None = None
    consent: bool = False  # To marketing on this channel.
    routed: bool = True  # Whether any provider takes messages of this channel and class.
    reacted_at: datetime | None = None  # When the person last opened, clicked or answered here.

    def closed(self, message_class: MessageClass) -> str | None:
        """Why it can't be taken, as half a sentence, or None."""
        is_marketing = message_class is MessageClass.MARKETING
        if self.address is None:
            return "no address"
        if self.suppressed and (is_marketing or self.suppressed is not SuppressionReason.UNSUBSCRIBED):
            return f"suppressed ({self.suppressed})"
        if is_marketing and not self.consent:
            return "no consent"
        if not self.routed:
            return "no route"
        return None


def best(ways: Sequence[Way], message_class: MessageClass) -> tuple[Way | None, str]:
    """The way to take, and why, in a sentence. If there is none, the sentence says what is lacking."""
    reasons = {way.channel: way.closed(message_class) for way in ways}
    opened = [way for way in ways if reasons[way.channel] is None]
    if not opened:
        said = "; ".join(f"{channel}: {reason}" for channel, reason in reasons.items())
        return None, f"Nothing reaches this person now: {said}."
    if free := [way for way in opened if way.suppressed is None]:
        # Who unsubscribed there may be written to, but a carrier that heard STOP takes no text at all.
        reasons |= {way.channel: "unsubscribed" for way in opened if way.suppressed}
        opened = free
    reacted = [(way.reacted_at, way) for way in opened if way.reacted_at is not None]
    if reacted:
        at, way = max(reacted, key=lambda each: each[0])
        return way, f"By {way.channel}, on which they last reacted, on {at:%Y-%m-%d}."
    way = min(opened, key=lambda each: ORDER.index(each.channel))
    earlier = [f"{each}: {reasons[each]}" for each in ORDER[: ORDER.index(way.channel)] if each in reasons]
    if not earlier:
        return way, f"By {way.channel}: they have reacted on no channel yet, and it comes first."
    return way, f"By {way.channel}, the first that is open ({'; '.join(earlier)})."
