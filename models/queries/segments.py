"""What a segment's rule means for everybody at once. `domain/segments.py` says it for one profile.

Conditions become EXISTS and NOT EXISTS, which the planner turns into joins of whole sets where many are
asked, and into index look-ups where few are. None of them is ever null, and every value is bound. The
workspace comes from the wall, so all this works only in a transaction of `sessions(workspace_id)`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar, assert_never
from uuid import UUID

from psycopg.errors import QueryCanceled
from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    exists,
    false,
    func,
    not_,
    or_,
    select,
    tablesample,
    text,
    true,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from domain.errors import Invalid
from domain.messages import MessageState
from domain.segments import All, Any_, Attribute, Message, Not, Orders, Person, Rule, holds
from domain.values import COMPARE
from models.base import Json
from models.messages import Message as Line
from models.orders import OrderRollup
from models.profiles import Profile
from models.queries.comparisons import holding
from models.workspaces import Workspace

T = TypeVar("T")
Column: TypeAlias = ColumnElement[T] | InstrumentedAttribute[T]

COUNT_FOR = 1_500  # Milliseconds; a count that takes longer is sampled instead.
SAMPLE = 50_000  # About so many profiles are looked at in a sample.


def where(
    rule: Rule,
    *,
    profile_id: Column[UUID],
    now: datetime,
    time_zone: str,
    currency: str,
    enrollment: Column[UUID] | None = None,
    attributes: Column[Json] | None = None,
) -> ColumnElement[bool]:
    """The condition that is true for the profiles whom the rule picks, and false for all others.

    `profile_id` is a column of the statement that asks. Its profiles may have been merged since, and are
    taken for the person that they are now; unless `attributes` are given, the column of `profiles` in a
    statement that reads these, and no merged ones, itself. `enrollment` is the id of the profile's journey
    that a message condition asks about; without one such a condition raises `Invalid`. `now`, `time_zone`
    and `currency` are as in `domain.segments.holds`.
    """
    whose = _Profile(profile_id, maybe_merged=attributes is None)

    def met(part: Rule) -> ColumnElement[bool]:
        match part:
            case All(all=parts):
                return and_(true(), *map(met, parts))
            case Any_(any=parts):
                return or_(false(), *map(met, parts))
            case Not(not_=negated):
                return not_(met(negated))
            case Attribute():
                return holding(part, attributes) if attributes is not None else _of_person(part, whose)
            case Orders():
                never = holds(part, Person(), now=now, time_zone=time_zone, currency=currency)
                return _orders(part, whose, time_zone, part.currency or currency, never)
            case Message():
                return _message(part, profile_id, enrollment)
            case _:
                assert_never(part)

    return met(rule)


def audience(rule: Rule, workspace: Workspace, now: datetime) -> ColumnElement[bool]:
    """The condition on `profiles` for whom the rule picks now. Merged and erased profiles are nobody."""
    return _picked(Profile, rule, now, workspace.time_zone, workspace.currency)


def members(rule: Rule, *, now: datetime, time_zone: str, currency: str) -> Select[UUID]:
    """The ids of the profiles whom the rule picks. Merged and erased ones are nobody."""
    return select(Profile.id).where(_picked(Profile, rule, now, time_zone, currency))


def _picked(
    person: type[Profile], rule: Rule, now: datetime, time_zone: str, currency: str
) -> ColumnElement[bool]:
    return and_(
        person.merged_into.is_(None),
        person.erased_at.is_(None),
        where(
            rule,
            profile_id=person.id,
            attributes=person.attributes,
            now=now,
            time_zone=time_zone,
            currency=currency,
        ),
    )


@dataclass(frozen=True)
class Estimate:
    """How many profiles a rule picks; if not exact, worked out from a sample."""

    count: int
    exact: bool


async def estimate(
    db: AsyncSession,
    rule: Rule,
    *,
    now: datetime,
    time_zone: str,
    currency: str,
    count_for: int = COUNT_FOR,
) -> Estimate:
    """Count the members, or sample them where counting takes longer than `count_for` milliseconds."""
    connection = await db.connection()
    attempt = await connection.begin_nested()
    try:
        await connection.execute(select(func.set_config("statement_timeout", str(count_for), True)))
        picked = _picked(Profile, rule, now, time_zone, currency)
        return Estimate(await _count(connection, Profile, picked), exact=True)
    except OperationalError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
    finally:
        await attempt.rollback()  # The limit goes with the savepoint that it was set in.
    share = float(await connection.scalar(_SHARE))
    some = aliased(Profile, tablesample(Profile, func.system(share)))
    found = await _count(connection, some, _picked(some, rule, now, time_zone, currency))
    return Estimate(round(found * 100 / share), exact=False)


async def _count(connection: AsyncConnection, person: type[Profile], picked: ColumnElement[bool]) -> int:
    return (await connection.execute(select(func.count()).select_from(person).where(picked))).scalar_one()


# Percent of the table's pages. A table that nobody analysed yet has no number of rows.
_SHARE = text(
    f"select 100.0 * {SAMPLE} / greatest(reltuples, {SAMPLE * 10}) from pg_class"
    " where oid = 'profiles'::regclass"
)


@dataclass(frozen=True)
class _Profile:
    """The profile that is asked about, by its id in the statement that asks."""

    id: Column[UUID]
    maybe_merged: bool

    def has(self, table: Any, theirs: Column[UUID], *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        """Whether the table has a row like this; its column `theirs` says whose it is.

        What a merged profile had is the other one's by now. This is a join, and says CASE and not COALESCE
        (which is not leakproof), so that behind the wall the row can be looked up by its key.
        """
        if not self.maybe_merged:
            return exists().where(theirs == self.id, *conditions).correlate_except(table)
        known = aliased(Profile)
        is_theirs = theirs == case((known.merged_into.is_(None), known.id), else_=known.merged_into)
        return exists().where(known.id == self.id, is_theirs, *conditions).correlate_except(table, known)


def _of_person(condition: Attribute, whose: _Profile) -> ColumnElement[bool]:
    person = aliased(Profile)
    return whose.has(person, person.id, holding(condition, person.attributes))


def _orders(
    condition: Orders, whose: _Profile, time_zone: str, currency: str, never: bool
) -> ColumnElement[bool]:
    """`never` says whether it picks those who never ordered in this currency, and so have no row."""
    rollup = aliased(OrderRollup)
    measured = {
        "total": rollup.total,
        "count": rollup.count,
        "first": rollup.first_at,
        "last": rollup.last_at,
    }[condition.measure]
    compared = COMPARE[condition.op](measured, condition.operand(time_zone))
    same = rollup.currency == currency
    if never:
        return not_(whose.has(rollup, rollup.profile_id, same, not_(compared)))
    return whose.has(rollup, rollup.profile_id, same, compared)


def _message(
    condition: Message, profile_id: Column[UUID], enrollment: Column[UUID] | None
) -> ColumnElement[bool]:
    """By the profile, then the occasion: the ledger's key of decisions begins so."""
    if enrollment is None:
        raise Invalid("Only a branch of a flow can ask about a message of its own journey.")
    line = aliased(Line)
    done = {
        "received": line.state == MessageState.ACCEPTED,
        "opened": line.opened_at.is_not(None),
        "clicked": line.clicked_at.is_not(None),
    }[condition.did]
    sent = line.profile_id == profile_id, line.occasion == enrollment, line.step == condition.step
    return exists().where(*sent, done).correlate_except(line)
