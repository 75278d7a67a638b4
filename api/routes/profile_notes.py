"""What members put on a profile: notes and tags."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Path, status
from pydantic import AfterValidator, StringConstraints

from api.callers import Asker, WorkspaceId, needs
from api.deps import Db, Pages
from api.manners import Feature
from api.shapes import In, Out, Page, example, page_of
from api.stack import Opened
from domain.roles import Permission
from models.queries import profile_notes, profiles

router = Feature(prefix="/profiles/{profile_id}", tags=["profiles"])


def _one_line(word: str) -> str:
    if not word.isprintable():
        raise ValueError("A tag has visible characters alone.")
    return word


Tag = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_one_line),
    Path(examples=["early bird"]),
]


class NoteIn(In):
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]

    model_config = example({"text": "Prefers to be called in the evening."})


class NoteOut(Out):
    id: UUID
    text: str
    author: str
    at: datetime

    model_config = example(
        {
            "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
            "text": "Prefers to be called in the evening.",
            "author": "grace@records.example",
            "at": "2026-11-21T09:00:00Z",
        }
    )


@router.get("/notes", dependencies=[needs(Permission.PROFILES_READ)])
async def list_notes(profile_id: UUID, db: Db, pages: Pages) -> Page[NoteOut]:
    """Notes about a person, the newest first."""
    who = await profiles.survivor(db, profile_id)
    found = await profile_notes.page(db, who, pages.after, pages.limit)
    return page_of([NoteOut.model_validate(row) for row in found], [row.id for row in found], pages.limit)


@router.post("/notes", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.PROFILES_WRITE)])
async def write_note(
    *, profile_id: UUID, body: NoteIn, asker: Asker, opened: Opened, workspace_id: WorkspaceId, db: Db
) -> NoteOut:
    """Note something about a person, under your name."""
    who = await profiles.alive(db, profile_id)
    note = await profile_notes.write(db, workspace_id, who, body.text, asker.name, opened.clock.now())
    return NoteOut.model_validate(note)


@router.delete(
    "/notes/{note_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[needs(Permission.PROFILES_WRITE)],
)
async def delete_note(profile_id: UUID, note_id: UUID, db: Db) -> None:
    """Delete a note."""
    await profile_notes.remove(db, await profiles.person(db, profile_id), note_id)


@router.put(
    "/tags/{tag}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.PROFILES_WRITE)]
)
async def put_tag(profile_id: UUID, tag: Tag, opened: Opened, workspace_id: WorkspaceId, db: Db) -> None:
    """Put a tag on a person. Having it already changes nothing."""
    who = await profiles.alive(db, profile_id)
    await profile_notes.tag(db, workspace_id, who, tag, opened.clock.now())


@router.delete(
    "/tags/{tag}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.PROFILES_WRITE)]
)
async def delete_tag(profile_id: UUID, tag: Tag, opened: Opened, db: Db) -> None:
    """Take a tag off a person."""
    await profile_notes.untag(db, await profiles.person(db, profile_id), tag, opened.clock.now())
