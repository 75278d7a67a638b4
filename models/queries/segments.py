"""What a segment's rule means for everybody at once. `domain/segments.py` says it for one profile.

What each condition asks is in `models.queries.conditions`, and of whom, and how it is looked up, in
`models.queries.people_asked`. Conditions on the same rows, side by side in a group, are asked together, so
that these are read once. The workspace comes from the wall, so all this works only in a transaction of
`sessions(workspace_id)`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, and_, exists, false, func, not_, or_, select, true

from domain import measures
from domain.conditions import Attribute, Known, OnList, Share, Tagged
from domain.deeds import Message, Messages, Orders
from domain.moments import When
from domain.segments import All, Any_, Not, Rule, conditions
from domain.values import COMPARE
from models.messages import Message as Line
from models.orders import OrderRollup
from models.profiles import Profile
from models.queries.conditions import (
    Asking,
    Journey,
    Manner,
    asking,
    is_rolled_up,
    of_journey,
    rolled_up,
    row,
    sent,
)
from models.queries.people_asked import (
    PROFILES,
    Asked,
    Column,
    Each,
    Everybody,
    Profiled,
    Rows,
    Source,
    an_alias,
)
from models.workspaces import Workspace

T = TypeVar("T")


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
    manner = Manner(When(now, time_zone, currency), few=True)
    return _met(rule, Each(profile_id, maybe_merged=True), manner, (profile_id, enrollment))


def audience(rule: Rule, workspace: Workspace, now: datetime, *, each: bool = False) -> ColumnElement[bool]:
    """The condition on `profiles` for whom the rule picks now. Merged and erased profiles are nobody.

    `each`: the statement names a few people, and reads the rows of these alone.
    """
    return _picked(rule, Manner(When(now, workspace.time_zone, workspace.currency), few=each))


def members(rule: Rule, *, now: datetime, time_zone: str, currency: str, each: bool = False) -> Select[UUID]:
    """The ids of the profiles whom the rule picks. Merged and erased ones are nobody.

    Whoever wants them in some order, or some of them, narrows down `profiles`.
    """
    picked = _picked(rule, Manner(When(now, time_zone, currency), few=each))
    return select(PROFILES.c.id).where(picked)


def all_members(
    rule: Rule, *, now: datetime, time_zone: str, currency: str, hot: Collection[str] = ()
) -> Select[UUID]:
    """The same ids, in the quickest way to find them all.

    Where a condition names people who have certain rows, one starts from these, and does not read the
    profiles. `hot` are the attributes whose values can all be looked up (`hot_values.ready`).
    """
    manner = Manner(When(now, time_zone, currency), hot=frozenset(hot))
    parts = [*_gathered([*_flat(rule)], All, manner)]
    for nth, part in sorted(enumerate(parts), key=lambda each: _dearth(each[1])):
        start = _asking(part, manner)
        if start is not None and (people := start.people()) is not None:
            rest = All(all=(*parts[:nth], *parts[nth + 1 :]))
            erased = an_alias(Profile)
            gone = exists().where(erased.c.id == people.c.id, erased.c.erased_at.is_not(None))
            met = _met(rest, Everybody(people.c.id), manner)
            return select(people.c.id).where(met, not_(gone.correlate_except(erased)))
    # All profiles are read: so their attributes are at hand, and other tables would only add to that.
    return select(PROFILES.c.id).where(_picked(rule, Manner(manner.when)))


def _picked(rule: Rule, manner: Manner) -> ColumnElement[bool]:
    id_ = PROFILES.c.id
    asked: Asked = Each(id_, maybe_merged=False, person=PROFILES) if manner.few else Everybody(id_, PROFILES)
    met = _met(rule, asked, manner)
    return and_(PROFILES.c.merged_into.is_(None), PROFILES.c.erased_at.is_(None), met)


def _flat(rule: Rule) -> Iterator[Rule]:
    """Parts all of which hold where the rule does."""
    if isinstance(rule, All):
        for part in rule.all:
            yield from _flat(part)
    else:
        yield rule


def _dearth(part: Rule) -> int:
    """A guess which of several conditions finds the fewest people; ties stay as they were written."""
    match part:
        case OnList() | Tagged():
            return 0
        case Attribute():
            return 1
        case _ if all(isinstance(each, Orders) for each in conditions(part)):
            return 2
    return 3


def _met(rule: Rule, asked: Asked, manner: Manner, journey: Journey | None = None) -> ColumnElement[bool]:
    def met(part: Rule) -> ColumnElement[bool]:
        if isinstance(part, Message):
            return of_journey(part, journey)
        if (together := _asking(part, manner)) is not None:
            return together.met(asked)
        match part:
            case All(all=parts):
                return and_(true(), *map(met, _gathered(parts, All, manner)))
            case Any_(any=parts):
                return or_(false(), *map(met, _gathered(parts, Any_, manner)))
            case Not(not_=negated):
                return not_(met(negated))
        raise AssertionError("Every condition is asked by itself.")

    return met(rule)


Key: TypeAlias = tuple[str, ...]  # Which rows are asked of.


def _key(part: Rule, manner: Manner) -> Key | None:
    """What a part has in common with others that can be asked together with it: the rows that it reads."""
    match part:
        case All(all=parts) | Any_(any=parts):
            keys = {_key(each, manner) for each in parts}
            return keys.pop() if len(keys) == 1 else None
        case Not(not_=negated):
            return _key(negated, manner)
        case Orders() if is_rolled_up(part):
            return ("orders", part.currency or manner.when.currency)
        case Messages():
            return ("messages",)
        case Attribute() if part.name not in manner.hot:
            return ("profile",)
        case Known() | Share():
            return ("profile",)
    return None


def _gathered(parts: Sequence[Rule], group: type[All] | type[Any_], manner: Manner) -> Iterator[Rule]:
    """The parts of a group, those that read the same rows in a group of their own."""
    alike: dict[Key, list[Rule]] = {}
    for part in parts:
        key = _key(part, manner)
        if key is None:
            yield part
        else:
            alike.setdefault(key, []).append(part)
    for some in alike.values():
        if len(some) == 1:
            yield from some
        else:
            yield All(all=tuple(some)) if group is All else Any_(any=tuple(some))


def _asking(part: Rule, manner: Manner) -> Asking | None:
    """What a condition asks, or a group of them that reads the same rows; None of any other group."""
    if not isinstance(part, All | Any_ | Not):
        return asking(part, manner)
    match _key(part, manner):
        case ("orders", currency):
            return _rolled_up(part, currency, manner.when)
        case ("messages",):
            return _sent(part, manner)
        case ("profile",):
            return Profiled(lambda person: _of_row(part, person, manner))
    return None


def _combined(
    part: Rule,
    leaf: Callable[[Any], T],
    both: Callable[..., T],
    either: Callable[..., T],
    no: Callable[[T], T],
) -> T:
    """A tree of answers as one."""

    def walk(part: Rule) -> T:
        match part:
            case All(all=parts):
                return both(*map(walk, parts))
            case Any_(any=parts):
                return either(*map(walk, parts))
            case Not(not_=negated):
                return no(walk(negated))
        return leaf(part)

    return walk(part)


def _in_sql(part: Rule, leaf: Callable[[Any], ColumnElement[bool]]) -> ColumnElement[bool]:
    return _combined(part, leaf, and_, or_, not_)


def _of_none(part: Rule, measure: Callable[[Any], str], when: When) -> bool:
    """Whether it holds of those who have no rows."""

    def leaf(condition: Any) -> bool:
        return measures.of_none(measure(condition), condition.op, condition.value, when)

    return _combined(part, leaf, lambda *all_: all(all_), lambda *any_: any(any_), lambda it: not it)


def _of_row(part: Rule, person: FromClause, manner: Manner) -> ColumnElement[bool]:
    def leaf(condition: Any) -> ColumnElement[bool]:
        asked = asking(condition, manner)
        assert isinstance(asked, Profiled)
        return asked.condition(person)

    return _in_sql(part, leaf)


def _rolled_up(part: Rule, currency: str, when: When) -> Rows:
    rollup = an_alias(OrderRollup)
    holds = _in_sql(part, lambda condition: row(condition, rollup, when))
    return rolled_up(rollup, currency, holds, _of_none(part, lambda condition: condition.measure, when))


def _sent(part: Rule, manner: Manner) -> Asking:
    """Several conditions on messages: each counts its own among the lines that any of them asks about."""
    first, *others = conditions(part)
    if not others:
        alone = asking(first, manner)
        assert isinstance(alone, Rows)
        return _denied(alone) if _is_denied(part) else alone
    line = an_alias(Line)
    of_each = [
        and_(*sent(each, line, manner.when)[1]) for each in conditions(part) if isinstance(each, Messages)
    ]
    counts = iter(of_each)

    def leaf(condition: Messages) -> ColumnElement[bool]:
        counted = func.count().filter(next(counts))
        compared: ColumnElement[bool] = COMPARE[condition.op](counted, condition.value)
        return compared

    holds = _in_sql(part, leaf)
    of_none = _of_none(part, lambda _: "count", manner.when)
    source = Source(line, line.c.profile_id, [or_(*of_each)], stays=True)
    return Rows(source, not_(holds) if of_none else holds, denied=of_none)


def _is_denied(part: Rule) -> bool:
    """Of a condition alone: whether it stands under an odd number of `not`."""
    match part:
        case Not(not_=negated):
            return not _is_denied(negated)
        case All(all=(only,)) | Any_(any=(only,)):
            return _is_denied(only)
    return False


def _denied(rows: Rows) -> Rows:
    return Rows(rows.source, rows.having, denied=not rows.denied)
