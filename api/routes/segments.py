"""Segments: rules that pick people."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

from fastapi import Query, status
from pydantic import BeforeValidator, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages
from api.etags import Unchanged
from api.manners import Feature
from api.shapes import In, Name, Out, Page, absent, example, page_of
from api.stack import Opened
from domain.errors import Invalid
from domain.roles import Permission
from domain.segments import Rule, as_json, parse
from domain.sentences import Names, sentence
from models.base import Json
from models.queries import rows, segment_names, segment_reports, segments_written, workspaces
from models.segments import Segment

router = Feature(prefix="/segments", tags=["segments"])

# The domain reads the rule: its refusals are sentences, with the pointer to what is wrong.
RuleIn = Annotated[Rule, BeforeValidator(parse)]
Announce = Annotated[
    bool,
    Field(description="Whoever comes in by this, or leaves, gets an event that flows may listen to."),
]

EXAMPLE: Json = {
    "name": "Good customers who went quiet",
    "rule": {
        "all": [
            {"kind": "orders", "measure": "total", "op": ">=", "value": "100"},
            {"kind": "orders", "measure": "count", "op": ">=", "value": 2},
            {"not": {"kind": "orders", "measure": "last", "op": "on or after", "value": "180 days ago"}},
        ]
    },
}
SENTENCE = "spent at least $100 over at least 2 orders and bought nothing in the last 180 days"

SHOWN: Json = {
    **EXAMPLE,
    "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
    "sentence": SENTENCE,
    "version": 1,
    "members": 213,
    "looked_at": "2026-11-21T09:00:01Z",
    "due_at": "2026-11-21T09:01:01Z",
    "problem": None,
    "used_by": 1,
    "created_at": "2026-11-21T09:00:00Z",
    "updated_at": "2026-11-21T09:00:00Z",
}


class SegmentIn(In):
    name: Name
    rule: RuleIn
    announce: Announce = False

    model_config = example(EXAMPLE)


class SegmentChange(In):
    """What to change; the rest stays. Campaigns that have started keep the audience they started with."""

    name: Name = Field(default_factory=absent)
    rule: RuleIn = Field(default_factory=absent)
    announce: Announce = Field(
        default=False,
        description="Whoever comes in by the new rule, or leaves, gets an event that flows may listen to.",
    )

    model_config = example({"name": "Quiet for half a year"})


class SegmentOut(Out):
    id: UUID
    name: str
    rule: dict[str, Any]
    sentence: str | None = Field(
        description="The rule in words: people who …. Null when a newer program can't read it any more."
    )
    version: int = Field(description="Counts the rules that it has had.")
    members: int | None = Field(description="How many there are; null before they were found.")
    looked_at: datetime | None = Field(
        description="When everybody was last looked at; null: not by this rule yet."
    )
    due_at: datetime | None = Field(
        description="When everybody is looked at again. Null: there is no need, whoever changes is looked at."
    )
    problem: str | None = Field(description="Why the last look failed, and what to do about it.")
    used_by: int = Field(description="How many campaigns, flows and other segments name it.")
    created_at: datetime
    updated_at: datetime

    moving: ClassVar = frozenset({"sentence", "members", "looked_at", "due_at", "problem", "used_by"})
    model_config = example(SHOWN)


class VersionOut(Out):
    number: int
    rule: dict[str, Any]
    sentence: str | None = Field(description="The rule in words, with today's names of things.")
    created_at: datetime

    model_config = example(
        {"number": 1, "rule": EXAMPLE["rule"], "sentence": SENTENCE, "created_at": "2026-11-21T09:00:00Z"}
    )


class VersionPage(Out):
    items: list[VersionOut]
    next_before: int | None = Field(description="Pass it as `before` for older ones; null at the end.")

    model_config = example(
        {
            "items": [
                {
                    "number": 1,
                    "rule": EXAMPLE["rule"],
                    "sentence": SENTENCE,
                    "created_at": "2026-11-21T09:00:00Z",
                }
            ],
            "next_before": None,
        }
    )


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.SEGMENTS_WRITE)])
async def create_segment(body: SegmentIn, workspace_id: WorkspaceId, db: Db) -> SegmentOut:
    """Create a segment. Its members are found within seconds, silently unless `announce`."""
    await segment_names.check(db, body.rule)
    made = await segments_written.create(
        db, workspace_id, body.name, as_json(body.rule), announce=body.announce
    )
    return await shown(db, workspace_id, made)


@router.get("", dependencies=[needs(Permission.SEGMENTS_READ)])
async def list_segments(workspace_id: WorkspaceId, db: Db, pages: Pages) -> Page[SegmentOut]:
    """Segments, the newest first."""
    found = await rows.page(db, Segment, pages.after, pages.limit)
    return page_of(await all_shown(db, workspace_id, found), [row.id for row in found], pages.limit)


@router.get("/{segment_id}", dependencies=[needs(Permission.SEGMENTS_READ)])
async def read_segment(segment_id: UUID, workspace_id: WorkspaceId, db: Db) -> SegmentOut:
    """One segment."""
    return await shown(db, workspace_id, await rows.get(db, Segment, segment_id))


@router.patch("/{segment_id}", dependencies=[needs(Permission.SEGMENTS_WRITE)])
async def change_segment(
    segment_id: UUID, change: SegmentChange, workspace_id: WorkspaceId, db: Db, unchanged: Unchanged
) -> SegmentOut:
    """Change a segment. A new rule makes a version, whose members are found within seconds.

    `If-Match` minds the name and the rule, and not how many members there are.
    """
    given = change.model_fields_set
    if not given:
        raise Invalid("Name at least one field to change.")
    if "announce" in given and "rule" not in given:
        raise Invalid("Only a new rule lets anybody in or out: give it as well.", "/announce")
    if unchanged.asked:
        held = await segments_written.hold(db, segment_id)
        unchanged.check(await shown(db, workspace_id, held))
    values: dict[str, Any] = {}
    if "name" in given:
        values["name"] = change.name
    if "rule" in given:
        await segment_names.check(db, change.rule)
        values["rule"] = as_json(change.rule)
    changed = await segments_written.change(db, segment_id, values, announce=change.announce)
    return await shown(db, workspace_id, changed)


@router.delete(
    "/{segment_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.SEGMENTS_WRITE)]
)
async def delete_segment(segment_id: UUID, workspace_id: WorkspaceId, db: Db, unchanged: Unchanged) -> None:
    """Delete a segment that no campaign, no flow and no other segment uses."""
    if unchanged.asked:
        held = await segments_written.hold(db, segment_id)
        unchanged.check(await shown(db, workspace_id, held))
    await segments_written.delete(db, segment_id)


@router.post(
    "/{segment_id}/recalculate",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[needs(Permission.SEGMENTS_WRITE)],
)
async def recalculate_segment(
    segment_id: UUID,
    opened: Opened,
    workspace_id: WorkspaceId,
    db: Db,
    announce: Annotated[
        bool, Query(description="Who came in or left unnoticed gets an event that flows may listen to.")
    ] = False,
) -> SegmentOut:
    """Have everybody looked at again, now. `looked_at` and `members` tell when that is done."""
    await segments_written.ask_again(db, segment_id, opened.clock.now(), announce)
    return await shown(db, workspace_id, await rows.get(db, Segment, segment_id))


@router.get("/{segment_id}/versions", dependencies=[needs(Permission.SEGMENTS_READ)])
async def list_versions(
    segment_id: UUID,
    workspace_id: WorkspaceId,
    db: Db,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Older than this number.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="The most items to answer.")] = 50,
) -> VersionPage:
    """The rules that a segment has or had, the newest first."""
    await rows.get(db, Segment, segment_id)
    found = await segment_reports.versions(db, segment_id, before, limit)
    said = await sentences(db, workspace_id, [each.rule for each in found])
    items = [
        VersionOut.model_validate({**vars(row), "sentence": words})
        for row, words in zip(found, said, strict=True)
    ]
    return VersionPage(items=items, next_before=found[-1].number if len(found) == limit else None)


async def shown(db: AsyncSession, workspace_id: UUID, row: Segment) -> SegmentOut:
    [it] = await all_shown(db, workspace_id, [row])
    return it


async def all_shown(db: AsyncSession, workspace_id: UUID, found: Sequence[Segment]) -> list[SegmentOut]:
    said = await sentences(db, workspace_id, [row.rule for row in found])
    uses = await segment_reports.uses(db, [row.id for row in found])
    return [
        SegmentOut.model_validate(
            {
                **{name: getattr(row, name) for name in SegmentOut.model_fields if hasattr(row, name)},
                "looked_at": row.materialized_at,
                "sentence": words,
                "used_by": uses[row.id],
            }
        )
        for row, words in zip(found, said, strict=True)
    ]


async def sentences(db: AsyncSession, workspace_id: UUID, data: Sequence[Json]) -> list[str | None]:
    """These rules in words; None for one that can't be read any more."""
    rules = [_readable(each) for each in data]
    names = await names_for(db, workspace_id, [rule for rule in rules if rule is not None])
    return [None if rule is None else sentence(rule, names) for rule in rules]


def _readable(data: Json) -> Rule | None:
    try:
        return parse(data)
    except Invalid:
        return None


async def names_for(db: AsyncSession, workspace_id: UUID, rules: Sequence[Rule]) -> Names:
    """What these rules name is called so."""
    workspace = await workspaces.get(db, workspace_id)
    return Names(workspace.currency, await segment_names.called(db, rules))
