"""What bodies are made of, whatever they are about."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Generic, TypeVar
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.deps import cursor_of
from domain.errors import Invalid

Item = TypeVar("Item")

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class In(BaseModel):
    """A body that is sent to us. What we don't know is refused, so that no typing error goes unseen."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """A body that we answer. No field has a default, so that generated types are exact."""

    model_config = ConfigDict(from_attributes=True)

    moving: ClassVar[frozenset[str]] = frozenset()  # Fields that change though nobody edits anything.


class Page(BaseModel, Generic[Item]):
    """Part of a list, the newest first."""

    items: list[Item]
    next_cursor: str | None = Field(description="Pass it as `cursor` for what follows; null at the end.")


def page_of(items: Sequence[Item], ids: Sequence[UUID], limit: int) -> Page[Item]:
    """The page of these items, whose rows have these ids. A full page may have something beyond it."""
    return Page[Item](items=list(items), next_cursor=cursor_of(ids[-1]) if len(ids) == limit else None)


class JsonResponse(Response):
    """Of JSON that is written already."""

    media_type = "application/json"


def json_page(items: Sequence[str], ids: Sequence[UUID], limit: int) -> JsonResponse:
    """The same as `page_of`, of items that the database wrote as JSON."""
    cursor = f'"{cursor_of(ids[-1])}"' if len(ids) == limit else "null"
    return JsonResponse(f'{{"items":[{",".join(items)}],"next_cursor":{cursor}}}')


def absent() -> Any:
    """The default of a field that a change may leave out. Null is not the same, and is checked."""


def example(value: dict[str, Any]) -> ConfigDict:
    """A model's configuration, beside what it inherits: an example for its readers."""
    return ConfigDict(json_schema_extra={"example": value})


@contextmanager
def under(pointer: str) -> Iterator[None]:
    """Errors within are about a part of the body: their pointers get its own in front."""
    try:
        yield
    except Invalid as error:
        for each in (error, *error.also):
            each.field = pointer + (each.field or "")
        raise
