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

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Interval,
    Table,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute

from models.base import Base
from models.profiles import Profile

PROFILES = Base.metadata.tables["profiles"]
T = TypeVar("T")
Column: TypeAlias = ColumnElement[T] | InstrumentedAttribute[T]


def an_alias(model: type[Base]) -> FromClause:
    """The model's table once more. What rules ask is built for each call, and the tables alone are quick."""
    return cast(Table, model.__table__).alias()


@dataclass(frozen=True)
class Source:
    """Rows that say something of people, in a table (an alias of its own for each condition)."""

    table: Any
    owner: Column[Any]  # Whose each row is.
    which: Sequence[ColumnElement[bool]]  # All of these hold of those that count.
    stays: bool = False  # They stay with the profile that they were about.
    at: Column[Any] | None = None  # When each was.


class Asked(Protocol):
    """Whom the conditions are asked of."""

    def has(self, source: Source) -> ColumnElement[bool]:
        """Whether the person has such a row."""
        ...

    def adds_up(self, source: Source, having: ColumnElement[bool]) -> ColumnElement[bool]:
        """Whether the person has such rows, and `having`, of all of them together, is true."""
        ...

    def follows(self, sources: Sequence[Source], within: Sequence[timedelta | None]) -> ColumnElement[bool]:
        """Whether the person has a row of each source, each later than the one before it and within a time
        of it. All of them stay."""
        ...

    def profile(self, condition: Callable[[FromClause], ColumnElement[bool]]) -> ColumnElement[bool]:
        """Whether this is true of the person's own row."""
        ...


class Everybody:
    """The profiles of a statement that reads `person`, in which none is merged."""

    def __init__(self, person: FromClause) -> None:
        self.person = person

    def has(self, source: Source) -> ColumnElement[bool]:
        if source.stays:
            return self._among(source)
        return exists().where(source.owner == self.person.c.id, *source.which).correlate_except(source.table)

    def adds_up(self, source: Source, having: ColumnElement[bool]) -> ColumnElement[bool]:
        return self._among(source, having)

    def follows(self, sources: Sequence[Source], within: Sequence[timedelta | None]) -> ColumnElement[bool]:
        done = [_done(source) for source in sources]
        asked = select(done[0].c.person).select_from(done[0])
        for before, each, soon in zip(done, done[1:], within[1:], strict=False):
            same = each.c.person == before.c.person
            asked = asked.join(each, and_(same, *_later(before.c.at, each.c.at, soon)))
        return self._one_of(asked.distinct())

    def profile(self, condition: Callable[[FromClause], ColumnElement[bool]]) -> ColumnElement[bool]:
        return condition(self.person)

    def _among(self, source: Source, having: ColumnElement[bool] | None = None) -> ColumnElement[bool]:
        person, joined = _owned(source)
        asked = select(person.label("person")).select_from(joined).where(*source.which).group_by(person)
        return self._one_of(asked if having is None else asked.having(having))

    def _one_of(self, asked: Any) -> ColumnElement[bool]:
        those = asked.subquery()
        return exists().where(those.c.person == self.person.c.id).correlate_except(those)


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
        tables: list[Any] = []
        which: list[ColumnElement[bool]] = []
        before: Source | None = None
        for source, soon in zip(sources, within, strict=True):
            more, theirs = self._theirs(source)
            tables += [source.table, *more]
            which += [*theirs, *source.which]
            if before is not None:
                which += _later(before.at, source.at, soon)
            before = source
        return exists().where(*which).correlate_except(*tables)

    def profile(self, condition: Callable[[FromClause], ColumnElement[bool]]) -> ColumnElement[bool]:
        if self.person is not None:
            return condition(self.person)
        person = an_alias(Profile)
        return self.has(Source(person, person.c.id, [condition(person)]))

    def _theirs(self, source: Source) -> tuple[list[Any], list[ColumnElement[bool]]]:
        """Which rows are the person's, and the tables that are needed to say so.

        These are joins, and say CASE and not COALESCE (which is not leakproof), so that behind the wall the
        rows can be looked up by their key.
        """
        if not self.maybe_merged and not source.stays:
            return [], [source.owner == self.profile_id]
        tables: list[Any] = []
        which: list[ColumnElement[bool]] = []
        now: Any = self.profile_id
        if self.maybe_merged:
            known = an_alias(Profile)
            tables.append(known)
            which.append(known.c.id == self.profile_id)
            now = case((known.c.merged_into.is_(None), known.c.id), else_=known.c.merged_into)
        if not source.stays:
            return tables, [*which, source.owner == now]
        one = an_alias(Profile)
        tables.append(one)
        return tables, [*which, or_(one.c.id == now, one.c.merged_into == now), source.owner == one.c.id]


def _owned(source: Source) -> tuple[ColumnElement[Any], FromClause]:
    """Whose each row is by now, and the tables that say so."""
    if not source.stays:
        return source.owner, source.table  # type: ignore[return-value]
    alias = an_alias(Profile)
    was_merged = and_(alias.c.id == source.owner, alias.c.merged_into.is_not(None))
    person = case((alias.c.id.is_(None), source.owner), else_=alias.c.merged_into)
    return person, select(source.table).outerjoin(alias, was_merged).get_final_froms()[0]


def _done(source: Source) -> Any:
    person, joined = _owned(source)
    asked = select(person.label("person"), source.at.label("at"))  # type: ignore[union-attr]
    return asked.select_from(joined).where(*source.which).subquery()


def _later(before: Any, after: Any, soon: timedelta | None) -> list[ColumnElement[bool]]:
    later = [after > before]
    if soon is not None:
        later.append(after <= before + literal(soon, Interval))
    return later
