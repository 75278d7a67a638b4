"""What each condition of a segment asks of the database: rows of another table, or the profile's own row.

`domain.conditions` and `domain.deeds` say what they mean for one profile. None of what is asked here is ever
null.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

from sqlalchemy import (
    ColumnElement,
    Date,
    FromClause,
    Integer,
    Numeric,
    Text,
    and_,
    any_,
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
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

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
    anniversaries,
)
from domain.deeds import Event, Message, Messages, Orders, Sequence_, Then
from domain.errors import Invalid
from domain.events import ORDER_PLACED
from domain.lists import MemberState
from domain.messages import Fate, MessageState
from domain.moments import When, Window, instant, length
from domain.orders import OrderStatus
from domain.profiles import ADDRESS_KIND
from domain.segments import Condition
from domain.values import COMPARE
from models.events import Event as Happening
from models.flows import Enrollment
from models.lists import ListMember, TopicConsent
from models.messages import Message as Line
from models.orders import Order, OrderRollup
from models.profiles import ProfileTag, Suppression
from models.queries import hot_values
from models.queries.comparisons import Found, holding, known, named
from models.queries.people_asked import Column, Follows, Profiled, Rows, Source, an_alias, here

Asking: TypeAlias = Rows | Follows | Profiled
Journey: TypeAlias = tuple[Column[Any], Column[Any]]  # The profile's id, and the enrollment's.


@dataclass(frozen=True)
class Manner:
    """How a rule is asked."""

    when: When
    few: bool = False  # Of a few people, by the keys of tables.
    hot: Collection[str] = ()  # Attributes whose values can all be looked up in `profile_values`.


def asking(condition: Condition, manner: Manner) -> Asking:  # noqa: PLR0912 - a case for each kind
    """What is asked, of any condition but one on a journey's message."""
    when = manner.when
    match condition:
        case Attribute():
            if condition.name in manner.hot and (source := hot_values.source(condition)) is not None:
                return Rows(source, denied=condition.asks[1])
            return Profiled(lambda person: _attribute(condition, person, when))
        case Identity():
            names = an_alias(models.profiles.Identity)
            which = [names.c.kind == condition.name, named(condition, names.c.value)]
            return Rows(Source(names, names.c.profile_id, which), denied=condition.asks[1])
        case Known():
            at = instant(condition.value, when)
            return Profiled(lambda person: COMPARE[condition.op](person.c.created_at, at))
        case Orders():
            return _orders(condition, when)
        case Event():
            return _event(condition, when)
        case Sequence_():
            return Follows(
                [_step(step, condition.window, when) for step in condition.steps],
                [length(step.within) if step.within else None for step in condition.steps],
            )
        case Messages():
            line = an_alias(Line)
            at, which = sent(condition, line, when)
            return _counted(condition, Source(line, line.c.profile_id, which, stays=True, at=at), None, when)
        case Consent():
            consents = an_alias(models.profiles.Consent)
            said = [consents.c.purpose == condition.purpose, consents.c.ended_at.is_(None)]
            return _said(condition.state, consents, said)
        case Topic():
            choices = an_alias(TopicConsent)
            said = [choices.c.topic_id == condition.topic_id, choices.c.ended_at.is_(None)]
            return _said(condition.state, choices, said)
        case Suppressed():
            return Rows(_suppressed(condition) if manner.few else _all_suppressed(condition))
        case OnList():
            on = an_alias(ListMember)
            which = [on.c.list_id == condition.list_id, on.c.state == MemberState.MEMBER]
            return Rows(Source(on, on.c.profile_id, which, one_each=True))
        case Tagged():
            tags = an_alias(ProfileTag)
            return Rows(Source(tags, tags.c.profile_id, [tags.c.tag == condition.tag], one_each=True))
        case InFlow():
            return _in_flow(condition)
        case Share():
            return Profiled(lambda person: _share(condition, person))
        case InSegment():
            raise LookupError("A rule is expanded before anybody is asked.")
        case Message():
            raise Invalid("Only a branch of a flow can ask about a message of its own journey.")
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
            return _comes_round(found, person, condition.value, condition.op, when)
    return holding(condition, person.c.attributes)


def _comes_round(found: Found, person: FromClause, days: int, op: str, when: When) -> ColumnElement[bool]:
    """As `domain.conditions.comes_round` has it. A month and a day are compared as they are written.

    What is written is first held against the days that come into question anywhere on earth, which is
    quick; whether it is a date, and what day it is where the person lives, is asked of these alone.
    """
    born = func.substr(found.written, 6, 5)
    zone = func.coalesce(person.c.time_zone, when.time_zone)
    today = cast(func.timezone(zone, when.now), Date)
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
    exactly = and_(found.is_time, known(comes))
    maybe = born == any_(literal(anniversaries(when.now.date(), days, op), ARRAY(Text)))
    return case((maybe, exactly), else_=false())


def _said(state: str, table: Any, said: list[ColumnElement[bool]]) -> Rows:
    if state == "unknown":
        return Rows(Source(table, table.c.profile_id, said), denied=True)
    return Rows(Source(table, table.c.profile_id, [*said, table.c.state == state], one_each=True))


def _stopped(condition: Suppressed) -> tuple[Any, list[ColumnElement[bool]]]:
    """The suppressions that count. The pump sees those of others too: so the workspace is named."""
    stopped = an_alias(Suppression)
    which = [stopped.c.workspace_id == here(), stopped.c.channel == condition.channel]
    which.append(stopped.c.ended_at.is_(None))
    if condition.reason is not None:
        which.append(stopped.c.reason == condition.reason)
    return stopped, which


def _primary(condition: Suppressed) -> tuple[Any, list[ColumnElement[bool]]]:
    """The address at which the channel reaches people, which is where a claim would send to."""
    names = an_alias(models.profiles.Identity)
    return names, [names.c.kind == ADDRESS_KIND[condition.channel], names.c.is_primary.is_(True)]


def _forgotten(condition: Suppressed, names: Any) -> ColumnElement[bool]:
    """Whether it is the address of somebody who was erased: of these the hash alone is kept."""
    stopped, which = _stopped(condition)
    hashes = select(stopped.c.address_hash).where(*which, stopped.c.address.is_(None))
    return func.sha256(func.convert_to(names.c.value, "UTF8")).in_(hashes)


def _suppressed(condition: Suppressed) -> Source:
    """Of a few people: their addresses are held against all that are suppressed, which are found once."""
    stopped, which = _stopped(condition)
    names, primary = _primary(condition)
    addresses = select(stopped.c.address).where(*which, stopped.c.address.is_not(None))
    is_stopped = or_(names.c.value.in_(addresses), _forgotten(condition, names))
    return Source(names, names.c.profile_id, [*primary, is_stopped])


def _all_suppressed(condition: Suppressed) -> Source:
    """Of everybody: found from the suppressions, by the address."""
    stopped, which = _stopped(condition)
    names, primary = _primary(condition)
    by_address = (
        select(names.c.profile_id)
        .select_from(stopped)
        .join(names, names.c.value == stopped.c.address)
        .where(*which, *primary)
    )
    names, primary = _primary(condition)
    by_hash = select(names.c.profile_id).where(*primary, _forgotten(condition, names))
    both = union_all(by_address, by_hash).subquery()
    return Source(both, both.c.profile_id, [], one_each=True)


def _share(condition: Share, person: FromClause) -> ColumnElement[bool]:
    if condition.below >= 2**32:
        return true()
    digest = func.md5(literal(condition.salt, Text) + cast(person.c.id, Text))
    return func.substr(digest, 1, 8).collate("C") < f"{condition.below:08x}"


def _in_flow(condition: InFlow) -> Rows:
    place = an_alias(Enrollment)
    which = [place.c.flow_id == condition.flow_id]
    if condition.place == "in":
        which.append(place.c.ended_at.is_(None))
    elif condition.place == "finished":
        which.append(place.c.ended_at.is_not(None))
    if condition.step is not None:
        which.append(place.c.step == condition.step)
    return Rows(Source(place, place.c.profile_id, which, stays=True))


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


def _counted(condition: Orders | Event | Messages, source: Source, amount: Any, when: When) -> Rows:
    """Those who have no such row are found as everybody but those whose rows add up otherwise."""
    measure = "count" if isinstance(condition, Messages) else condition.measure
    if measure == "count" and (condition.op, condition.value) in ((">=", 1), (">", 0)):
        return Rows(source)
    if measure == "count" and (condition.op, condition.value) in (("is", 0), ("<", 1), ("<=", 0)):
        return Rows(source, denied=True)
    adds_up = _measured(condition, measure, source.at, amount, when)
    if measures.of_none(measure, condition.op, condition.value, when):
        return Rows(source, not_(adds_up), denied=True)
    return Rows(source, adds_up)


def _orders(condition: Orders, when: When) -> Rows:
    if is_rolled_up(condition):
        rollup = an_alias(OrderRollup)
        none = measures.of_none(condition.measure, condition.op, condition.value, when)
        return rolled_up(rollup, condition.currency or when.currency, row(condition, rollup, when), none)
    order = an_alias(Order)
    which = [
        order.c.currency == (condition.currency or when.currency),
        order.c.status != OrderStatus.CANCELLED,
        *_bounds(condition.window, order.c.ordered_at, when),
    ]
    if condition.products is not None:
        bought = func.jsonb_path_query_array(order.c.lines, literal_column("'$[*].sku'"))
        which.append(known(bought.op("?|")(literal(list(condition.products), ARRAY(Text)))))
    source = Source(order, order.c.profile_id, which, at=order.c.ordered_at)
    return _counted(condition, source, order.c.total - order.c.refunded, when)


def is_rolled_up(condition: Orders) -> bool:
    """Whether one row of each profile says it: of all orders in a currency."""
    return condition.window is None and condition.products is None


def row(condition: Orders, rollup: Any, when: When) -> ColumnElement[bool]:
    """Whether the condition holds of a row that sums up somebody's orders."""
    operand: Any = measures.operand(condition.measure, condition.value, when)
    if condition.measure == "average":
        average: ColumnElement[bool] = COMPARE[condition.op](
            rollup.c.total, literal(operand, Numeric) * rollup.c.count
        )
        return average
    column = {"first": "first_at", "last": "last_at"}.get(condition.measure, condition.measure)
    compared: ColumnElement[bool] = COMPARE[condition.op](rollup.c[column], operand)
    return compared


def rolled_up(rollup: Any, currency: str, holds: ColumnElement[bool], of_none: bool) -> Rows:
    """Of whose row this holds; `of_none` says whether it does of those who never ordered, and have no row."""
    which = [rollup.c.currency == currency, not_(holds) if of_none else holds]
    return Rows(Source(rollup, rollup.c.profile_id, which, one_each=True), denied=of_none)


def _step(step: Event | Then, window: Window | None, when: When) -> Source:
    """The events that a condition asks for; of orders there is a table of their own.

    None came in before it occurred, so a window tells as well which months' partitions need not be read.
    """
    if step.name == ORDER_PLACED:
        order = an_alias(Order)
        at = order.c.ordered_at
        which = [order.c.status != OrderStatus.CANCELLED, *_bounds(window, at, when)]
        return Source(order, order.c.profile_id, which, at=at)
    did = an_alias(Happening)
    which = [did.c.name == step.name, *_bounds(window, did.c.occurred_at, when)]
    if window is not None and window.after is not None:
        which.append(did.c.received_at >= instant(window.after, when))
    which += [holding(each, did.c.properties) for each in step.where]
    return Source(did, did.c.profile_id, which, stays=True, at=did.c.occurred_at)


def _event(condition: Event, when: When) -> Rows:
    source = _step(condition, condition.window, when)
    amount = None
    if condition.property_ is not None:
        amount = Found.under(condition.property_, source.table.c.properties).number
    return _counted(condition, source, amount, when)


def sent(condition: Messages, line: Any, when: When) -> tuple[Any, list[ColumnElement[bool]]]:
    """When what the condition asks about happened, and of which lines of the ledger it is true."""
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
    which.append(line.c.profile_id.is_not(None))  # A bare address is nobody.
    which += _bounds(condition.window, at, when)
    if condition.channel is not None:
        which.append(line.c.channel == condition.channel)
    if condition.source_id is not None:
        which.append(line.c.source_id == condition.source_id)
    return at, which


def of_journey(condition: Message, journey: Journey | None) -> ColumnElement[bool]:
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
