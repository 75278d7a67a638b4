"""Topics: what people can want to hear of, or not, and the link to the page where they choose."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import status
from pydantic import Field

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages
from api.etags import Unchanged
from api.manners import Feature
from api.routes.lists import Description
from api.shapes import In, Name, Out, Page, absent, example, page_of
from api.stack import Opened
from domain.errors import Invalid
from domain.profiles import Purpose
from domain.roles import Permission
from domain.tokens import About, Tokens
from models.lists import Topic
from models.queries import profiles, rows, topics

router = Feature(tags=["lists"])

_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"


class TopicIn(In):
    name: Name
    description: Description | None = None
    purpose: Purpose = Field(Purpose.EMAIL, description="The channel that it is on.")
    position: int = Field(0, ge=-10_000, le=10_000, description="On the page where people choose.")

    model_config = example({"name": "New arrivals", "description": "What came in this week."})


class TopicChange(In):
    """What to change; the rest stays. On which channel a topic is never changes: people chose it for that."""

    name: Name = Field(default_factory=absent)
    description: Description | None = Field(default_factory=absent)
    position: int = Field(default_factory=absent, ge=-10_000, le=10_000)

    model_config = example({"position": 2})


class TopicOut(Out):
    id: UUID
    name: str
    description: str | None
    purpose: Purpose
    position: int
    created_at: datetime
    updated_at: datetime

    model_config = example(
        {
            "id": _ID,
            "name": "New arrivals",
            "description": "What came in this week.",
            "purpose": "email",
            "position": 0,
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
        }
    )


class LinkOut(Out):
    url: str = Field(description="Who has it chooses for this person: give it to nobody else.")

    model_config = example({"url": "https://mail.records.example/p/…"})


@router.post("/topics", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.LISTS_WRITE)])
async def create_topic(body: TopicIn, workspace_id: WorkspaceId, db: Db) -> TopicOut:
    """Create a topic. Until somebody chose, it follows what they allow on its channel."""
    return TopicOut.model_validate(await topics.create(db, workspace_id, body.model_dump()))


@router.get("/topics", dependencies=[needs(Permission.LISTS_READ)])
async def list_topics(db: Db, pages: Pages) -> Page[TopicOut]:
    """Topics, the newest first."""
    found = await rows.page(db, Topic, pages.after, pages.limit)
    return page_of([TopicOut.model_validate(row) for row in found], [row.id for row in found], pages.limit)


@router.get("/topics/{topic_id}", dependencies=[needs(Permission.LISTS_READ)])
async def read_topic(topic_id: UUID, db: Db) -> TopicOut:
    """One topic."""
    return TopicOut.model_validate(await topics.get(db, topic_id))


@router.patch("/topics/{topic_id}", dependencies=[needs(Permission.LISTS_WRITE)])
async def change_topic(
    topic_id: UUID, change: TopicChange, opened: Opened, db: Db, unchanged: Unchanged
) -> TopicOut:
    """Change a topic."""
    if not change.model_fields_set:
        raise Invalid("Name at least one field to change.")
    if unchanged.asked:
        unchanged.check(TopicOut.model_validate(await rows.get(db, Topic, topic_id, lock=True)))
    values: dict[str, Any] = change.model_dump(include=change.model_fields_set)
    values["updated_at"] = opened.clock.now()
    return TopicOut.model_validate(await topics.change(db, topic_id, values))


@router.delete(
    "/topics/{topic_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.LISTS_WRITE)]
)
async def delete_topic(topic_id: UUID, opened: Opened, db: Db, unchanged: Unchanged) -> None:
    """Delete a topic that no segment asks about, and what people chose for it."""
    if unchanged.asked:
        unchanged.check(TopicOut.model_validate(await rows.get(db, Topic, topic_id, lock=True)))
    await topics.remove(db, topic_id, opened.clock.now())


@router.post(
    "/profiles/{profile_id}/preference-link",
    dependencies=[needs(Permission.PROFILES_WRITE)],
    tags=["profiles"],
)
async def make_preference_link(
    profile_id: UUID, opened: Opened, workspace_id: WorkspaceId, db: Db
) -> LinkOut:
    """The page where this person chooses what they hear of, such as for your own site. It works for ever."""
    who = await profiles.alive(db, profile_id)
    tokens = Tokens(opened.settings.signing_key.encode())
    signed = tokens.sign(workspace_id, who, About.PREFERENCES)
    return LinkOut(url=f"{opened.settings.public_url.rstrip('/')}/p/{signed}")
