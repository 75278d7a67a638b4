"""What a segment's rule means for everybody at once. `domain/segments.py` says it for one profile.

Each condition is a case of `_met`, and becomes EXISTS and NOT EXISTS over the rows that speak of it, none of
which is ever null; `models.queries.people_asked` says how they are looked up. Every value is bound. The
workspace comes from the wall, so all this works only in a transaction of `sessions(workspace_id)`.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Date,
    FromClause,
    Integer,
    Numeric,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    extract,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

import models.lists
import models.profiles
from domain import measures
from domain.conditions import (
    FURTHEST,
    Attribute,
    Consent,
    Identity,
    InFlow,
    InSegment,
    Known,
    OnList,
    Share,
    Suppressed,
    Tagged,
    Topic,
)
from domain.deeds import Event, Message, Messages, Orders, Sequence_, Then
from domain.errors import Invalid
from domain.lists import MemberState
from domain.messages import Fate, MessageState
from domain.moments import When, Window, instant, length
from domain.orders import OrderStatus
from domain.profiles import ADDRESS_KIND
from domain.segments import All, Any_, Condition, Not, Rule
from domain.values import COMPARE
from models.events import Event as Happening
from models.flows import Enrollment
from models.lists import ListMember, TopicConsent
from models.messages import Message as Line
from models.orders import Order, OrderRollup
from models.profiles import ProfileTag, Suppression
from models.queries.comparisons import Found, holding, known, named
from models.queries.people_asked import PROFILES, Asked, Column, Each, Everybody, Source, an_alias
from models.workspaces import Workspace


def where(
    rule: Rule,
    *,
    profile_id: Column[UUID],
    enrollment: Column[UUID],
    now: datetime,
    time_zone: str,
    currency: str,
) -> ColumnElement[bool]:
    """The condition that is true for the journeys of those whom the rule picks, and false for all others.

    `profile_id` and `enrollment` are columns of the statement that asks: whose journey it is, and its id,
    which is what message conditions ask about. The profiles may have been merged since, and are taken for
    the person that they are now. `now`, `time_zone` and `currency` are as in `domain.segments.holds`.
    """
    asked = Each(profile_id, maybe_merged=True)
    return _tree(rule, asked, When(now, time_zone, currency), (profile_id, enrollment))


def audience(rule: Rule, workspace: Workspace, now: datetime, *, each: bool = False) -> ColumnElement[bool]:
    """The condition on `profiles` for whom the rule picks now. Merged and erased profiles are nobody.

    `each`: the statement names a few people, and reads the rows of these alone.
    """
    when = When(now, workspace.time_zone, workspace.currency)
    return _picked(PROFILES, rule, when, each=each)


def members(rule: Rule, *, now: datetime, time_zone: str, currency: str, each: bool = False) -> Select[UUID]:
    """The ids of the profiles whom the rule picks. Merged and erased ones are nobody."""
    when = When(now, time_zone, currency)
    return select(PROFILES.c.id).where(_picked(PROFILES, rule, when, each=each))


def _picked(person: FromClause, rule: Rule, when: When, *, each: bool = False) -> ColumnElement[bool]:
    asked: Asked = Each(person.c.id, maybe_merged=False, person=person) if each else Everybody(person)
    return and_(person.c.merged_into.is_(None), person.c.erased_at.is_(None), _tree(rule, asked, when))


Journey = tuple[Column[UUID], Column[UUID]]  # The profile's id, and the enrollment's.


def _tree(rule: Rule, asked: Asked, when: When, journey: Journey | None = None) -> ColumnElement[bool]:
    def met(part: Rule) -> ColumnElement[bool]:
        match part:
            case All(all=parts):
                return and_(true(), *map(met, parts))
            case Any_(any=parts):
                return or_(false(), *map(met, parts))
            case Not(not_=negated):
                return not_(met(negated))
        return _met(part, asked, when, journey)

    return met(rule)


def _met(  # noqa: PLR0912 - one case for each kind of condition
    condition: Condition, asked: Asked, when: When, journey: Journey | None
) -> ColumnElement[bool]:
    match condition:
        case Attribute():
            return asked.profile(lambda person: _attribute(condition, person, when))
        case Identity():
            names = an_alias(models.profiles.Identity)
            which = [names.c.kind == condition.name, named(condition, names.c.value)]
            has = asked.has(Source(names, names.c.profile_id, which))
            return not_(has) if condition.asks[1] else has
        case Known():
            at = instant(condition.value, when)
            return asked.profile(lambda person: COMPARE[condition.op](person.c.created_at, at))
        case Orders():
            return _orders(condition, asked, when)
        case Event():
            return _event(condition, asked, when)
        case Sequence_():
            sources = [_step(step, condition.window, when) for step in condition.steps]
            return asked.follows(
                sources, [length(step.within) if step.within else None for step in condition.steps]
            )
        case Messages():
            return _messages(condition, asked, when)
        case Message():
            return _message(condition, journey)
        case Consent():
            consents = an_alias(models.profiles.Consent)
            said = [consents.c.purpose == condition.purpose, consents.c.ended_at.is_(None)]
            return _said(condition.state, asked, consents, said)
        case Topic():
            choices = an_alias(TopicConsent)
            said = [choices.c.topic_id == condition.topic_id, choices.c.ended_at.is_(None)]
            return _said(condition.state, asked, choices, said)
        case Suppressed():
            return _suppressed(condition, asked)
        case OnList():
            on = an_alias(ListMember)
            which = [on.c.list_id == condition.list_id, on.c.state == MemberState.MEMBER]
            return asked.has(Source(on, on.c.profile_id, which))
        case Tagged():
            tags = an_alias(ProfileTag)
            return asked.has(Source(tags, tags.c.profile_id, [tags.c.tag == condition.tag]))
        case InSegment():
            raise LookupError("A rule is expanded before anybody is asked.")
        case InFlow():
            return _in_flow(condition, asked)
        case Share():
            return asked.profile(lambda person: _share(condition, person))
        case _:
            assert_never(condition)


def _attribute(condition: Attribute, person: FromClause, when: When) -> ColumnElement[bool]:
    found = Found.under(condition.name, person.c.attributes)
    match condition.op:
        case "before" | "on or after":
            at = instant(str(condition.value), when)
            return known(COMPARE[condition.op](found.time(when.time_zone), at))
        case "anniversary in" | "anniversary within":
            assert isinstance(condition.value, int)
            zone = func.coalesce(person.c.time_zone, when.time_zone)
            today = cast(func.timezone(zone, when.now), Date)
            return _comes_round(found, today, condition.value, condition.op)
    return holding(condition, person.c.attributes)


def _comes_round(found: Found, today: Any, days: int, op: str) -> ColumnElement[bool]:
    """As `domain.conditions.comes_round` has it. A month and a day are compared as they are written."""
    born = func.substr(found.written, 6, 5)
    then = today + literal(days, Integer)

    def on(day: Any) -> ColumnElement[str]:
        return func.to_char(day, "MM-DD")

    def leaps(day: Any) -> ColumnElement[bool]:
        year = cast(extract("year", day), Integer)
        return func.to_char(func.make_date(year, 2, 28) + literal(1, Integer), "MM-DD") == "02-29"

    def has_it(day: Any) -> ColumnElement[bool]:
        return or_(born == on(day), and_(born == "02-29", on(day) == "02-28", not_(leaps(day))))

    if op == "anniversary in":
        comes = has_it(then)
    elif days == FURTHEST:
        comes = true()
    else:
        # From one day to another of the year, or from one over New Year's Eve to another.
        from_, to = on(today), on(then)
        between = and_(born >= from_, born <= to)
        over = or_(born >= from_, born <= to)
        usual = case((from_ <= to, between), else_=over)
        comes = or_(usual, and_(born == "02-29", or_(has_it(today), has_it(then))))
    return and_(found.is_time, known(comes))


def _said(state: str, asked: Asked, table: Any, said: list[ColumnElement[bool]]) -> ColumnElement[bool]:
    if state == "unknown":
        return not_(asked.has(Source(table, table.c.profile_id, said)))
    return asked.has(Source(table, table.c.profile_id, [*said, table.c.state == state]))


def _suppressed(condition: Suppressed, asked: Asked) -> ColumnElement[bool]:
    """By the primary address of the channel, which is where a claim would send to."""
    names, stopped = an_alias(models.profiles.Identity), an_alias(Suppression)
    why = [] if condition.reason is None else [stopped.c.reason == condition.reason]
    is_stopped = (
        exists()
        .where(
            stopped.c.channel == condition.channel,
            stopped.c.address_hash == func.sha256(func.convert_to(names.c.value, "UTF8")),
            stopped.c.ended_at.is_(None),
            *why,
        )
        .correlate_except(stopped)
    )
    kind = ADDRESS_KIND[condition.channel]
    return asked.has(
        Source(names, names.c.profile_id, [names.c.kind == kind, names.c.is_primary.is_(True), is_stopped])
    )


def _share(condition: Share, person: FromClause) -> ColumnElement[bool]:
    if condition.below >= 2**32:
        return true()
    digest = func.md5(literal(condition.salt, Text) + cast(person.c.id, Text))
    return func.substr(digest, 1, 8).collate("C") < f"{condition.below:08x}"


def _in_flow(condition: InFlow, asked: Asked) -> ColumnElement[bool]:
    place = an_alias(Enrollment)
    which = [place.c.flow_id == condition.flow_id]
    if condition.place == "in":
        which.append(place.c.ended_at.is_(None))
    elif condition.place == "finished":
        which.append(place.c.ended_at.is_not(None))
    if condition.step is not None:
        which.append(place.c.step == condition.step)
    return asked.has(Source(place, place.c.profile_id, which, stays=True))


def _bounds(window: Window | None, at: Any, when: When) -> Iterator[ColumnElement[bool]]:
    if window is not None:
        after, before = window.bounds(when)
        if after is not None:
            yield at >= after
        if before is not None:
            yield at < before


def _measured(
    condition: Orders | Event | Messages, measure: str, at: Any, amount: Any, when: When
) -> ColumnElement[bool]:
    """Whether rows that there are add up as the condition has it, as `domain.measures.meets` says."""
    asked: Any = measures.operand(measure, condition.value, when)
    match measure:
        case "count":
            found: Any = func.count()
        case "first":
            found = func.min(at)
        case "last":
            found = func.max(at)
        case "total" | "sum":
            found = func.coalesce(func.sum(amount), literal(0, Numeric))
        case "largest":
            found = func.max(amount)
        case _:
            found, asked = func.sum(amount), literal(asked, Numeric) * func.count(amount)
    return known(COMPARE[condition.op](found, asked))


def _counted(
    condition: Orders | Event | Messages, measure: str, asked: Asked, source: Source, amount: Any, when: When
) -> ColumnElement[bool]:
    """Those who have no such row are found as everybody but those whose rows add up otherwise."""
    if measure == "count" and (condition.op, condition.value) in ((">=", 1), (">", 0)):
        return asked.has(source)
    if measure == "count" and (condition.op, condition.value) in (("is", 0), ("<", 1), ("<=", 0)):
        return not_(asked.has(source))
    adds_up = _measured(condition, measure, source.at, amount, when)
    if measures.of_none(measure, condition.op, condition.value, when):
        return not_(asked.adds_up(source, not_(adds_up)))
    return asked.adds_up(source, adds_up)


def _orders(condition: Orders, asked: Asked, when: When) -> ColumnElement[bool]:
    currency = condition.currency or when.currency
    if condition.window is None and condition.products is None:
        return _rolled_up(condition, asked, currency, when)
    order = an_alias(Order)
    which = [
        order.c.currency == currency,
        order.c.status != OrderStatus.CANCELLED,
        *_bounds(condition.window, order.c.ordered_at, when),
    ]
    if condition.products is not None:
        bought = func.jsonb_path_query_array(order.c.lines, literal_column("'$[*].sku'"))
        which.append(known(bought.op("?|")(literal(list(condition.products), ARRAY(Text)))))
    source = Source(order, order.c.profile_id, which, at=order.c.ordered_at)
    return _counted(condition, condition.measure, asked, source, order.c.total - order.c.refunded, when)


def _rolled_up(condition: Orders, asked: Asked, currency: str, when: When) -> ColumnElement[bool]:
    """Of all orders in a currency there is one row that says it. Who never ordered has none."""
    rollup = an_alias(OrderRollup)
    operand: Any = measures.operand(condition.measure, condition.value, when)
    if condition.measure == "average":
        compared = COMPARE[condition.op](rollup.c.total, literal(operand, Numeric) * rollup.c.count)
    else:
        found = {
            "total": rollup.c.total,
            "count": rollup.c.count,
            "largest": rollup.c.largest,
            "first": rollup.c.first_at,
            "last": rollup.c.last_at,
        }[condition.measure]
        compared = COMPARE[condition.op](found, operand)
    same = rollup.c.currency == currency
    if measures.of_none(condition.measure, condition.op, condition.value, when):
        return not_(asked.has(Source(rollup, rollup.c.profile_id, [same, not_(compared)])))
    return asked.has(Source(rollup, rollup.c.profile_id, [same, compared]))


def _step(step: Event | Then, window: Window | None, when: When) -> Source:
    """The events that a condition asks for.

    None came in before it occurred, so a window tells as well which months' partitions need not be read.
    """
    did = an_alias(Happening)
    which = [did.c.name == step.name, *_bounds(window, did.c.occurred_at, when)]
    if window is not None and window.after is not None:
        which.append(did.c.received_at >= instant(window.after, when))
    which += [holding(each, did.c.properties) for each in step.where]
    return Source(did, did.c.profile_id, which, stays=True, at=did.c.occurred_at)


def _event(condition: Event, asked: Asked, when: When) -> ColumnElement[bool]:
    source = _step(condition, condition.window, when)
    amount = None
    if condition.property_ is not None:
        amount = Found.under(condition.property_, source.table.c.properties).number
    return _counted(condition, condition.measure, asked, source, amount, when)


def _messages(condition: Messages, asked: Asked, when: When) -> ColumnElement[bool]:
    line = an_alias(Line)
    at: Any = line.c.closed_at
    match condition.did:
        case "received":
            which = [line.c.state == MessageState.ACCEPTED]
        case "bounced":
            which = [line.c.closed_at.is_not(None), line.c.fate.in_((Fate.SOFT_BOUNCE, Fate.HARD_BOUNCE))]
        case "opened":
            at = line.c.opened_at
            which = [at.is_not(None)]
        case "clicked":
            at = line.c.clicked_at
            which = [at.is_not(None)]
    which += _bounds(condition.window, at, when)
    if condition.channel is not None:
        which.append(line.c.channel == condition.channel)
    if condition.source_id is not None:
        which.append(line.c.source_id == condition.source_id)
    source = Source(line, line.c.profile_id, which, stays=True, at=at)
    return _counted(condition, "count", asked, source, None, when)


def _message(condition: Message, journey: Journey | None) -> ColumnElement[bool]:
    """By the profile, then the occasion: the ledger's key of decisions begins so."""
    if journey is None:
        raise Invalid("Only a branch of a flow can ask about a message of its own journey.")
    profile_id, enrollment = journey
    line = an_alias(Line)
    done = {
        "received": line.c.state == MessageState.ACCEPTED,
        "opened": line.c.opened_at.is_not(None),
        "clicked": line.c.clicked_at.is_not(None),
    }[condition.did]
    sent = line.c.profile_id == profile_id, line.c.occasion == enrollment, line.c.step == condition.step
    return exists().where(*sent, done).correlate_except(line)
