"""What a rule names by its id, and where in the rule that stands."""

from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

from domain.conditions import InFlow, InSegment, OnList, Topic
from domain.deeds import Messages
from domain.segments import All, Any_, Not, Part


class Reference(NamedTuple):
    kind: str  # list, segment, campaign, flow or topic.
    its_id: UUID
    pointer: str  # A JSON pointer (RFC 6901).


def references(rule: Part, field: str = "/rule") -> Iterator[Reference]:
    """Each place where a rule, which stands at the JSON pointer `field` of what was sent, names something."""
    match rule:
        case All(all=parts):
            for nth, part in enumerate(parts):
                yield from references(part, f"{field}/all/{nth}")
        case Any_(any=parts):
            for nth, part in enumerate(parts):
                yield from references(part, f"{field}/any/{nth}")
        case Not(not_=part):
            yield from references(part, f"{field}/not")
        case OnList(list_id=its_id):
            yield Reference("list", its_id, f"{field}/list_id")
        case InSegment(segment_id=its_id):
            yield Reference("segment", its_id, f"{field}/segment_id")
        case Topic(topic_id=its_id):
            yield Reference("topic", its_id, f"{field}/topic_id")
        case InFlow(flow_id=its_id) | Messages(flow_id=UUID() as its_id):
            yield Reference("flow", its_id, f"{field}/flow_id")
        case Messages(campaign_id=UUID() as its_id):
            yield Reference("campaign", its_id, f"{field}/campaign_id")
