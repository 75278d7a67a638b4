"""The catalogue: what webhooks can be told, each type with the schema of its data and an example."""

from functools import cache
from typing import Any

from pydantic import Field

from api.announced import body_of, title_of
from api.callers import needs
from api.manners import Feature
from api.shapes import Out, example
from domain.announcements import ADDRESSED, AnnouncementType
from domain.catalogue import CATALOGUE, WHEN
from domain.roles import Permission

router = Feature(prefix="/webhooks", tags=["webhooks"])

_TYPE = AnnouncementType.IMPORT_FINISHED


class EventType(Out):
    type: str
    title: str
    description: str = Field(description="When it is told.")
    can_be_asked_for: bool = Field(
        description="Whether it may stand in `event_types`; what is addressed to one webhook may not."
    )
    data_schema: dict[str, Any] = Field(description="The JSON Schema of `data`.")
    example: dict[str, Any] = Field(description="A whole body.")


class EventTypes(Out):
    items: list[EventType]

    model_config = example(
        {
            "items": [
                {
                    "type": _TYPE.value,
                    "title": title_of(_TYPE),
                    "description": WHEN[_TYPE],
                    "can_be_asked_for": True,
                    "data_schema": {"type": "object", "properties": {"import_id": {"format": "uuid"}}},
                    "example": body_of(_TYPE),
                }
            ]
        }
    )


@router.get("/event-types", dependencies=[needs(Permission.WEBHOOKS_READ)])
async def list_event_types() -> EventTypes:
    """What there is to be told. `/docs` shows the same under Webhooks."""
    return _all()


@cache
def _all() -> EventTypes:
    return EventTypes(
        items=[
            EventType(
                type=each.value,
                title=title_of(each),
                description=WHEN[each],
                can_be_asked_for=each not in ADDRESSED,
                data_schema=CATALOGUE[each].model_json_schema(),
                example=body_of(each),
            )
            for each in AnnouncementType
        ]
    )
