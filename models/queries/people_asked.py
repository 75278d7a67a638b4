"""Whom a rule's conditions are asked of: everybody at once, or each of a few people by the keys of tables.

A condition on rows of another table is one of two shapes. Asked of everybody, the rows are grouped by the
person and joined: each table is read once. Asked of a few, each person's rows are looked up by a key, and
nobody else's are touched. Which is right is known to whoever asks, and not to the planner, who believes
whatever the statistics said a while ago.

Some rows stay with the profile that they were about when two become one (events, messages, enrollments);
the person is then whoever the profile is an alias of. All others have moved.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeAlias, TypeVar, cast
from uuid import UUID

from sqlalchemy import (
    TIMESTAMP,
    ColumnElement,
    FromClause,
    Integer,
    Interval,
    Join,
    Table,
    Uuid,
    and_,
    case,
    exists,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import InstrumentedAttribute

from models.base import Base
from models.profiles import Profile
from models.queries.comparisons import known
from models.queries.profiles import HERE

_NEVER = sql_cast(null(), TIMESTAMP(timezone=True))
PROFILES = Base.metadata.tables["profiles"]
T = TypeVar("T")
Column: TypeAlias = ColumnElement[T] | InstrumentedAttribute[T]


def an_alias(model: type[Base]) -> FromClause:
    """The model's table once more. What rules ask is built for each call, and the tables alone are quick."""
    return cast(Table, model.__table__).alias()


def here() -> ColumnElement[UUID]:
    """The workspace of the transaction."""
    return literal_column(HERE, Uuid)


@dataclass(frozen=True)
class Source:
    """Rows that say something of people, in a table (an alias of its own for each condition)."""

    table: Any
    owner: Column[Any]  # Whose each row is.
    which: Sequence[ColumnElement[bool]]  # All of these hold of those that count.
    stays: bool = False  # They stay with the profile that they were about.
    at: Column[Any] | None = None  # When each was.
    one_each: bool = False  # Nobody has two that count.


@dataclass(frozen=True)
class Rows:
    """Who has such a row; with `having`, who has such rows of which, taken together, that is true."""

    source: Source
    having: ColumnElement[bool] | None = None
    denied: bool = False  # Not they, but everybody else.

    def met(self, asked: "Asked") -> ColumnElement[bool]:
        those = asked.has(self.source) if self.having is None else asked.adds_up(self.source, self.having)
        return not_(those) if self.denied else those

    def people(self) -> FromClause | None:
        """Their ids, each once, as a column `id`; None of a denial."""
        if self.denied:
            return None
        if self.source.one_each and self.having is None:
            return select(self.source.owner.label("id")).where(*self.source.which).subquery()
        found: FromClause = _by_person(self.source, self.having).subquery()
        return found


@dataclass(frozen=True)
class Follows:
    """Who has a row of each source, each later than the one before it, and within a time of it."""

    sources: Sequence[Source]
    within: Sequence[timedelta | None]

    def met(self, asked: "Asked") -> ColumnElement[bool]:
        return asked.follows(self.sources, self.within)

    def people(self) -> FromClause:
        found: FromClause = _followers(self.sources, self.within).distinct().subquery()
        return found


@dataclass(frozen=True)
class Profiled:
    """Of whose own row this is true."""

    condition: Callable[[FromClause], ColumnElement[bool]]

    def met(self, asked: "Asked") -> ColumnElement[bool]:
        return asked.profile(self.condition)

    def people(self) -> None:
        return None  # All profiles are read for that in any case.


class Asked(Protocol):
    """Whom conditions are asked of."""

    def has(self, source: Source) -> ColumnElement[bool]:
        """Whether the person has such a row."""
        ...

    def adds_up(self, source: Source, having: ColumnElement[bool]) -> ColumnElement[bool]:
        """Whether the person has such rows, and `having`, of all of them together, is true."""
        ...

    def follows(self, sources: Sequence[Source], within: Sequence[timedelta | None]) -> ColumnElement[bool]:
        """As `Follows`."""
        ...

    def profile(self, condition: Callable[[FromClause], ColumnElement[bool]]) -> ColumnElement[bool]:
        """Whether this is true of the person's own row."""
        ...


class Everybody:
    """All people of a statement, none of whom is merged, by a column of it that has the id of each."""

    def __init__(self, id_: ColumnElement[Any], person: FromClause | None = None) -> None:
        """`person`: where the statement reads the profiles themselves."""
        self.id = id_
        self.person = person

    def has(self, source: Source) -> ColumnElement[bool]:
        if source.stays:
            return self._one_of(_by_person(source))
        return exists().where(source.owner == self.id, *source.which).correlate_except(source.table)

    def adds_up(self, source: Source, having: ColumnElement[bool]) -> ColumnElement[bool]:
        return self._one_of(_by_person(source, having))

    def follows(self, sources: Sequence[Source], within: Sequence[timedelta | None]) -> ColumnElement[bool]:
        return self._one_of(_followers(sources, within))

    def profile(self, condition: Callable[[FromClause], ColumnElement[bool]]) -> ColumnElement[bool]:
        if self.person is not None:
            return condition(self.person)
        person = an_alias(Profile)
        return exists().where(person.c.id == self.id, condition(person)).correlate_except(person)

    def _one_of(self, asked: Any) -> ColumnElement[bool]:
        those = asked.subquery()
        return exists().where(those.c.id == self.id).correlate_except(those)


class Each:
    """The profiles of a statement, one after the other, by `profile_id`, a column of it.

    `maybe_merged`: some may have been merged since, and stand for the person that they are now.
    """

    def __init__(
        self, profile_id: Column[Any], *, maybe_merged: bool, person: FromClause | None = None
    ) -> None:
        """`person`: where the statement reads the profiles themselves."""
        self.profile_id = profile_id
        self.maybe_merged = maybe_merged
        self.person = person

    def has(self, source: Source) -> ColumnElement[bool]:
        tables, theirs = self._theirs(source)
        return exists().where(*theirs, *source.which).correlate_except(source.table, *tables)

    def adds_up(self, source: Source, having: ColumnElement[bool]) -> ColumnElement[bool]:
        tables, theirs = self._theirs(source)
        added = select(literal(1)).select_from(source.table).where(*theirs, *source.which)
        some = func.count() > 0
        return added.having(and_(some, having)).correlate_except(source.table, *tables).exists()

    def follows(self, sources: Sequence[Source], within: Sequence[timedelta | None]) -> ColumnElement[bool]:
        """One walk through what the person did, in its order.

        Of each step only counts when it was last reached. So however much somebody did, this takes no longer
        than to sort it.
        """
        did = union_all(*(self._moments(nth, source) for nth, source in enumerate(sources))).subquery()
        for nth, soon in enumerate(within):
            reached = did.c.step == nth
            if nth:
                reached = and_(reached, *_later(did.c.before, did.c.at, soon))
            last = func.max(case((reached, did.c.at))).over(order_by=did.c.at, groups=(None, -1))
            if nth + 1 < len(sources):
                did = select(did.c.step, did.c.at, last.label("before")).subquery()
        return select(literal(1)).select_from(did).where(known(reached)).correlate_except(did).exists()

    def _moments(self, nth: int, source: Source) -> Any:
        """When the person did what a step asks for."""
        tables, theirs = self._theirs(source)
        at: Any = source.at
        asked = select(literal(nth, Integer).label("step"), at.label("at"), _NEVER.label("before"))
        asked = asked.select_from(source.table, *tables).where(*theirs, *source.which)
        return asked.correlate(self.profile_id.expression.table)

    def profile(self, condition: Callable[[FromClause], ColumnElement[bool]]) -> ColumnElement[bool]:
        if self.person is not None:
            return condition(self.person)
        person = an_alias(Profile)
        return self.has(Source(person, person.c.id, [condition(person)]))

    def _theirs(self, source: Source) -> tuple[list[Any], list[ColumnElement[bool]]]:
        """Which rows are the person's, and the tables that are needed to say so.

        These are joins, and say CASE and not COALESCE (which is not leakproof), so that behind the wall the
        rows can be looked up by their key. The pump is the engine, which sees beyond the wall: so the
        workspace is named.
        """
        tables: list[Any] = []
        which: list[ColumnElement[bool]] = []
        if "workspace_id" in source.table.c:
            which.append(source.table.c.workspace_id == here())
        now: Any = self.profile_id
        if self.maybe_merged:
            asked = self._profile(tables, which)
            which.append(asked.c.id == self.profile_id)
            now = case((asked.c.merged_into.is_(None), asked.c.id), else_=asked.c.merged_into)
        if source.stays:
            one = self._profile(tables, which)
            which.append(or_(one.c.id == now, one.c.merged_into == now))
            now = one.c.id
        return tables, [*which, source.owner == now]

    def _profile(self, tables: list[Any], which: list[ColumnElement[bool]]) -> FromClause:
        one = an_alias(Profile)
        tables.append(one)
        which.append(one.c.workspace_id == here())
        return one


def _by_person(source: Source, having: ColumnElement[bool] | None = None) -> Any:
    """The ids of those who have such rows, each once."""
    if having is None and source.stays:
        # Each profile's rows become one before it is asked whose it is by now.
        once = select(source.owner.label("owner")).where(*source.which).distinct().subquery()
        whose, all_ = _owned(once, once.c.owner)
        return select(whose.label("id")).select_from(all_).group_by(whose)
    person, tables = _whose(source)
    asked = select(person.label("id")).select_from(tables).where(*source.which).group_by(person)
    return asked if having is None else asked.having(having)


def _followers(sources: Sequence[Source], within: Sequence[timedelta | None]) -> Any:
    """The ids of those who did one after the other, some more than once."""
    first, *others = sources
    person, tables = _whose(first)
    asked = select(person.label("id")).select_from(tables).where(*first.which)
    return asked.where(_followed(person, first, others, within[1:]))


def _followed(
    person: ColumnElement[Any], before: Source, others: Sequence[Source], within: Sequence[timedelta | None]
) -> ColumnElement[bool]:
    if not others:
        return true()
    next_, *rest = others
    theirs, tables = _whose(next_)
    which = [theirs == person, *_later(before.at, next_.at, within[0]), *next_.which]
    if rest:
        which.append(_followed(theirs, next_, rest, within[1:]))
    own = (tables.left, tables.right) if isinstance(tables, Join) else (tables,)
    return select(literal(1)).select_from(tables).where(*which).correlate_except(*own).exists()


def _whose(source: Source) -> tuple[ColumnElement[Any], FromClause]:
    return _owned(source.table, source.owner) if source.stays else (cast(Any, source.owner), source.table)


def _owned(table: Any, owner: Any) -> tuple[ColumnElement[Any], Join]:
    """Whose each row is by now that stayed with its profile, and the tables that say so."""
    alias = an_alias(Profile)
    was_merged = and_(alias.c.id == owner, alias.c.merged_into.is_not(None))
    person = case((alias.c.id.is_(None), owner), else_=alias.c.merged_into)
    return person, table.outerjoin(alias, was_merged)


def _later(before: Any, after: Any, soon: timedelta | None) -> list[ColumnElement[bool]]:
    later = [after > before]
    if soon is not None:
        later.append(after <= before + literal(soon, Interval))
    return later
