"""What one asks about segments: how many are in them, who, since when, who is in two, and why somebody is."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import Query
from pydantic import AfterValidator, Field

from api.callers import Asker, WorkspaceId, may, needs
from api.deps import Db, Pages
from api.manners import Feature
from api.routes.segments import EXAMPLE, SENTENCE, RuleIn, names_for
from api.shapes import In, Out, Page, example, page_of
from api.stack import Opened
from domain import sentences
from domain.comparisons import storable
from domain.errors import Invalid
from domain.roles import Permission
from domain.segments import parse, reads
from models.queries import (
    estimates,
    persons,
    profiles_found,
    rows,
    segment_names,
    segment_reports,
    segments_written,
    workspaces,
)
from models.segments import Segment

router = Feature(prefix="/segments", tags=["segments"])

USUAL, MOST = 30, 400  # Days of a history.
SEGMENTS = 5  # That are compared at once.
_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"


class EstimateIn(In):
    rule: RuleIn

    model_config = example({"rule": EXAMPLE["rule"]})


class SomebodyOut(Out):
    profile_id: UUID
    email: str | None = Field(description="The address that is written to.")
    user_id: str | None


class ReachOut(Out):
    count: int
    exact: bool
    error: float = Field(description="As that of the estimate.")


class EstimateOut(Out):
    sentence: str = Field(description="The rule in words: people who ….")
    count: int
    exact: bool = Field(description="False: a sample was counted, because all would have taken too long.")
    error: float = Field(
        description="0 when exact. Otherwise the true count is nearer than this share of `count`, "
        "with a probability of 95 %."
    )
    members: list[SomebodyOut] = Field(
        description="Up to ten of them, at random; none where you may not read profiles (`profiles:read`)."
    )
    reach: dict[str, ReachOut] = Field(
        description="By channel: how many have an address there, which is not suppressed, and gave consent."
    )

    model_config = example(
        {
            "sentence": SENTENCE,
            "count": 213,
            "exact": True,
            "error": 0.0,
            "members": [{"profile_id": _ID, "email": "ada@example.com", "user_id": "r1"}],
            "reach": {
                "email": {"count": 187, "exact": True, "error": 0.0},
                "sms": {"count": 41, "exact": True, "error": 0.0},
                "whatsapp": {"count": 0, "exact": True, "error": 0.0},
            },
        }
    )


class OverlapIn(In):
    segment_ids: list[UUID] = Field(min_length=2, max_length=SEGMENTS)

    model_config = example({"segment_ids": [_ID, "0199f1c2-a4b1-7d02-9e13-2b4c6d8e0f1a"]})


class SizeOut(Out):
    segment_id: UUID
    count: int


class PairOut(Out):
    segment_ids: list[UUID]
    count: int = Field(description="Who is in both.")


class OverlapOut(Out):
    segments: list[SizeOut]
    pairs: list[PairOut]
    all: int = Field(description="Who is in all of them.")
    any: int = Field(description="Who is in any of them.")

    model_config = example(
        {
            "segments": [
                {"segment_id": _ID, "count": 213},
                {"segment_id": "0199f1c2-a4b1-7d02-9e13-2b4c6d8e0f1a", "count": 90},
            ],
            "pairs": [{"segment_ids": [_ID, "0199f1c2-a4b1-7d02-9e13-2b4c6d8e0f1a"], "count": 12}],
            "all": 12,
            "any": 291,
        }
    )


class SegmentMemberOut(SomebodyOut):
    entered_at: datetime

    model_config = example(
        {
            "profile_id": _ID,
            "email": "ada@example.com",
            "user_id": "r1",
            "entered_at": "2026-11-21T09:00:00Z",
        }
    )


class DayOut(Out):
    day: date
    size: int | None = Field(description="How many there were at its end; null before anybody was counted.")
    entered: int
    left: int


class HistoryOut(Out):
    days: list[DayOut] = Field(description="In the workspace's time zone, the oldest first.")

    model_config = example({"days": [{"day": "2026-11-21", "size": 213, "entered": 4, "left": 1}]})


class ExplainedOut(Out):
    sentence: str
    holds: bool
    found: str | None = Field(description="What there was to see; null of what consists of parts.")
    parts: list["ExplainedOut"] = Field(
        description="Of a group, of a `not`, and of another segment: what it consists of."
    )


class ExplanationOut(Out):
    profile_id: UUID = Field(description="The person; who was merged is explained as who they are now.")
    holds: bool = Field(description="Whether the rule holds now.")
    member: bool = Field(description="Whether the person is in the segment; moments later it is as `holds`.")
    entered_at: datetime | None
    cut: bool = Field(
        description="True: there is more of this person than was looked at here (10,000 events, orders or "
        "messages), and `holds` may err."
    )
    why: ExplainedOut

    model_config = example(
        {
            "profile_id": _ID,
            "holds": True,
            "member": True,
            "entered_at": "2026-11-21T09:00:00Z",
            "cut": False,
            "why": {
                "sentence": SENTENCE,
                "holds": True,
                "found": None,
                "parts": [
                    {
                        "sentence": "spent at least $100",
                        "holds": True,
                        "found": "they spent $431 over 3 orders",
                        "parts": [],
                    },
                    {
                        "sentence": "placed at least 2 orders",
                        "holds": True,
                        "found": "there are 3 orders",
                        "parts": [],
                    },
                    {
                        "sentence": "bought nothing in the last 180 days",
                        "holds": True,
                        "found": None,
                        "parts": [
                            {
                                "sentence": "the last order was in the last 180 days",
                                "holds": False,
                                "found": "the last order was on 20 April 2026",
                                "parts": [],
                            }
                        ],
                    },
                ],
            },
        }
    )


@router.post("/estimate", dependencies=[needs(Permission.SEGMENTS_READ)])
async def estimate_segment(
    body: EstimateIn, opened: Opened, asker: Asker, workspace_id: WorkspaceId, db: Db
) -> EstimateOut:
    """How many people a rule picks now, some of them, and how many can be reached on each channel.

    Counted where that is quick, otherwise from a random sample. It answers within about a second.
    """
    await segment_names.check(db, body.rule)
    workspace = await workspaces.get(db, workspace_id)
    rule = await segments_written.resolved(db, body.rule)
    found = await estimates.estimate(
        db, rule, now=opened.clock.now(), time_zone=workspace.time_zone, currency=workspace.currency
    )
    if not may(asker, Permission.PROFILES_READ):
        found = replace(found, members=())
    said = sentences.sentence(body.rule, await names_for(db, workspace_id, [body.rule]))
    return EstimateOut.model_validate({**vars(found), "sentence": said})


@router.post("/overlap", dependencies=[needs(Permission.SEGMENTS_READ)])
async def overlap_segments(body: OverlapIn, db: Db) -> OverlapOut:
    """How many people are in each of some segments, in both of each pair, and in all of them."""
    asked = body.segment_ids
    for nth, its_id in enumerate(asked):
        if its_id in asked[:nth]:
            raise Invalid("This segment is named twice: take one out.", f"/segment_ids/{nth}")
    found = await segment_reports.overlap(db, asked)
    return OverlapOut(
        segments=[SizeOut(segment_id=its_id, count=n) for its_id, n in zip(asked, found.each, strict=True)],
        pairs=[PairOut(segment_ids=[asked[a], asked[b]], count=n) for (a, b), n in found.pairs.items()],
        all=found.all,
        any=found.any,
    )


@router.get(
    "/{segment_id}/members", dependencies=[needs(Permission.SEGMENTS_READ), needs(Permission.PROFILES_READ)]
)
async def list_segment_members(
    segment_id: UUID,
    db: Db,
    pages: Pages,
    q: Annotated[
        str | None,
        Query(min_length=1, max_length=255, description="An email address or another name begins so."),
        AfterValidator(lambda q: q if q is None else storable(q)),
    ] = None,
) -> Page[SegmentMemberOut]:
    """Who is in a segment, the newest profiles first."""
    await rows.get(db, Segment, segment_id)
    found = await segment_reports.members(db, segment_id, q, pages.after, pages.limit)
    items = [SegmentMemberOut.model_validate(each) for each in found]
    return page_of(items, [each.profile_id for each in found], pages.limit)


@router.get("/{segment_id}/history", dependencies=[needs(Permission.SEGMENTS_READ)])
async def read_history(
    segment_id: UUID,
    opened: Opened,
    workspace_id: WorkspaceId,
    db: Db,
    first: Annotated[
        date | None, Query(alias="from", description=f"The first day; {USUAL} days by default.")
    ] = None,
    last: Annotated[date | None, Query(alias="to", description="The last day; today by default.")] = None,
) -> HistoryOut:
    """How large a segment was at the end of each day, and how many came and went."""
    await rows.get(db, Segment, segment_id)
    zone = ZoneInfo((await workspaces.get(db, workspace_id)).time_zone)
    today = opened.clock.now().astimezone(zone).date()
    last = today if last is None else min(last, today)
    first = date.fromordinal(max(1, last.toordinal() - USUAL + 1)) if first is None else first
    if first > last:
        raise Invalid("The first day comes after the last one, or after today.", "?from")
    if last - first >= timedelta(days=MOST):
        raise Invalid(f"Ask for up to {MOST} days at once.", "?from")
    found = await segment_reports.history(db, segment_id, first, last)
    return HistoryOut(days=[DayOut.model_validate(each) for each in found])


@router.get(
    "/{segment_id}/explain", dependencies=[needs(Permission.SEGMENTS_READ), needs(Permission.PROFILES_READ)]
)
async def explain_membership(
    segment_id: UUID,
    opened: Opened,
    workspace_id: WorkspaceId,
    db: Db,
    profile: Annotated[
        str,
        Query(
            min_length=3, max_length=320, description="A profile's id or email.", examples=["ada@example.com"]
        ),
        AfterValidator(storable),
    ],
) -> ExplanationOut:
    """Which conditions hold of somebody, which don't, and what there was to see."""
    segment = await rows.get(db, Segment, segment_id)
    who = (await profiles_found.find(db, profile)).profile.id
    rule = parse(segment.rule)
    meaning = await segments_written.meaning(db, rule)
    loaded = await persons.load(db, who, reads(meaning.rule))
    workspace = await workspaces.get(db, workspace_id)
    why = sentences.explained(
        rule,
        loaded.person,
        now=opened.clock.now(),
        time_zone=workspace.time_zone,
        currency=workspace.currency,
        names=await names_for(db, workspace_id, [rule, *meaning.others.values()]),
        others=meaning.others,
    )
    entered_at = await segment_reports.entered_at(db, segment_id, who)
    return ExplanationOut(
        profile_id=who,
        holds=why.holds,
        member=entered_at is not None,
        entered_at=entered_at,
        cut=loaded.cut,
        why=ExplainedOut.model_validate(why),
    )
