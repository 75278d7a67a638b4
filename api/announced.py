"""What webhooks are sent, for the API's description: an operation of the receiver's for each type."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, status
from pydantic import BaseModel, ConfigDict, Field, create_model

from domain import catalogue
from domain.announcements import AnnouncementType, written
from domain.catalogue import CATALOGUE, WHEN

_AT = datetime(2026, 11, 21, 9, tzinfo=UTC)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    410: {"description": "It wants no more: the webhook is disabled at once."},
    "default": {"description": "Anything but 2xx, or no answer within 10 s: it comes again, for three days."},
}


def title_of(type_: AnnouncementType) -> str:
    """Such as "Message failed"."""
    return type_.replace(".", " ").replace("_", " ").capitalize()


def body_of(type_: AnnouncementType) -> dict[str, Any]:
    """An example of what is posted."""
    return {"type": type_.value, "timestamp": written(_AT), "data": catalogue.example(type_)}


def tell_of_webhooks(app: FastAPI) -> None:
    """Have the description of `app` show what is sent to webhooks."""
    for type_ in CATALOGUE:
        app.webhooks.add_api_route(
            type_.value,
            _receiving(_body(type_)),
            methods=["POST"],
            status_code=status.HTTP_204_NO_CONTENT,
            tags=["webhooks"],
            summary=title_of(type_),
            description=WHEN[type_],
            operation_id=f"announced_{type_.replace('.', '_')}",
            response_description="It was heard: any 2xx will do.",
            responses=_ANSWERS,
        )


def _body(type_: AnnouncementType) -> type[BaseModel]:
    said = Field(description="When it happened, in UTC.")
    fields: dict[str, Any] = {
        "type": (Literal[type_.value], ...),
        "timestamp": (Annotated[datetime, said], ...),
        "data": (CATALOGUE[type_], ...),
    }
    made: type[BaseModel] = create_model(
        f"{title_of(type_).title().replace(' ', '')}Announced",
        __config__=ConfigDict(json_schema_extra={"example": body_of(type_)}),
        **fields,
    )
    return made


def _receiving(body: type[BaseModel]) -> Callable[..., Coroutine[Any, Any, None]]:
    async def received(
        body: Any,
        webhook_id: Annotated[str, Header(description="The same at each try: drop what you had.")],
        webhook_timestamp: Annotated[int, Header(description="Seconds since 1970, of this try.")],
        webhook_signature: Annotated[
            str, Header(description="`v1,` and a signature, one for each secret, with spaces between.")
        ],
    ) -> None: ...

    received.__annotations__["body"] = body
    return received
