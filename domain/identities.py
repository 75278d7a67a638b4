"""Who is who: to which person something belongs that came in under some names, and who turns out to be one.

A name is (kind, value): a user id, an email, a phone number or an anonymous id, the strongest first. A person
is *known* who has any but anonymous ids; others are *anonymous*, which is a browser or a phone that told
nobody's name yet. What comes in is taken in its order, by these rules:

- It belongs to whoever has the strongest of its names that somebody has; if nobody has any, to a new person.
- An anonymous person under any of its names becomes one with that person, whoever says so.
- An anonymous id is a device, and devices are shared: it never makes one of two known people, and whoever is
  named on the device of somebody else is somebody else.
- Two known people become one by a stronger name than that, if a secret key says so, unless both have user
  ids: those are two people of the shop's, who share an address. Only `alias` makes one of them.
- A public key, which everybody can read, never makes one of two known people, and gives a known person no
  name but a device. What it says is kept, and the name is left out and noted.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from domain.profiles import IdentityKind

Name = tuple[IdentityKind, str]

STRONGEST_FIRST = (
    IdentityKind.USER_ID,
    IdentityKind.EMAIL,
    IdentityKind.PHONE,
    IdentityKind.ANONYMOUS_ID,
)
# What an alias may have called a person before.
PREVIOUS = (IdentityKind.ANONYMOUS_ID, IdentityKind.USER_ID, IdentityKind.EMAIL)

OF_ANOTHER = (
    "It is the name of another known person, whom a public key can't make one with this one: "
    "merge the two, or send it with a secret key."
)
NOT_BY_PUBLIC_KEY = (
    "A public key can't give a known person another name: send the identify from your server, with a "
    "secret key."
)
TWO_USER_IDS = (
    "The two have different user ids and so are two people, who can't share a name: send an alias with a "
    "secret key, or merge them, if they are one."
)


class Said(NamedTuple):
    """Something that came in: under which names, the strongest first, and on whose word."""

    n: int  # Its place among all that came in.
    trusted: bool  # It came by a secret key.
    names: Sequence[Name]
    previous: str | None = None  # An alias: what the person was called before.


@dataclass
class Person:
    """Somebody, as far as these rules look."""

    id: UUID
    known: bool = False  # Has a name that is no anonymous id.
    user_ids: set[str] = field(default_factory=set)
    is_new: bool = False

    def takes(self, name: Name) -> None:
        kind, value = name
        self.known = self.known or kind is not IdentityKind.ANONYMOUS_ID
        if kind is IdentityKind.USER_ID:
            self.user_ids.add(value)


class Given(NamedTuple):
    """A name that somebody has from now on."""

    kind: IdentityKind
    value: str
    person: UUID
    trusted: bool  # Then the newest address is the one that is written to.


class Refused(NamedTuple):
    """A name that was not taken; what it came with was."""

    n: int
    kind: IdentityKind
    value: str
    why: str


@dataclass
class Resolved:
    """What follows. People are named by their ids, none of whom is in `merged` as a key."""

    persons: dict[int, UUID] = field(default_factory=dict)  # Whose each thing is, by its `n`.
    new: list[UUID] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)
    merged: dict[UUID, UUID] = field(default_factory=dict)  # People there were, and who they are by now.
    refused: list[Refused] = field(default_factory=list)


def resolve(said: Iterable[Said], holders: dict[Name, Person], new_id: Callable[[], UUID]) -> Resolved:
    """To whom each belongs. `holders` says who has those of all the names that somebody has."""
    circle = _Circle(holders, new_id)
    for each in said:
        circle.hear(each)
    return circle.outcome()


class _Circle:
    """Everybody whom a batch speaks of, as they become known one thing after the other."""

    def __init__(self, holders: dict[Name, Person], new_id: Callable[[], UUID]) -> None:
        self._holders, self._new_id = holders, new_id
        self._became: dict[UUID, Person] = {}
        self._whose: dict[int, Person] = {}
        self._given: dict[Name, tuple[Person, bool]] = {}
        self._made: list[Person] = []
        self._refused: list[Refused] = []

    def hear(self, said: Said) -> None:
        if said.previous is not None:
            self._whose[said.n] = self._alias(said, said.previous)
            return
        self._whose[said.n] = self._named(said)

    def outcome(self) -> Resolved:
        done = Resolved(refused=self._refused)
        done.persons = {n: self._now(person).id for n, person in self._whose.items()}
        done.new = [person.id for person in self._made if self._now(person) is person]
        for (kind, value), (person, trusted) in self._given.items():
            done.given.append(Given(kind, value, self._now(person).id, trusted))
        made = {person.id for person in self._made}
        done.merged = {old: self._now(new).id for old, new in self._became.items() if old not in made}
        return done

    def _person(self, said: Said) -> Person:
        """Whose it is, by the strongest name that somebody has; or a new person."""
        strongest = said.names[0]
        if self._holder(strongest) is None:
            kind = strongest[0]
            for name in said.names[1:]:
                holder = self._holder(name)
                if holder is None:
                    continue
                if holder.known and name[0] is IdentityKind.ANONYMOUS_ID:
                    break  # The device of somebody else.
                if holder.user_ids and kind is IdentityKind.USER_ID:
                    break  # Who has another user id is another person.
                return holder
            return self._make()
        found = self._holder(strongest)
        assert found is not None
        return found

    def _named(self, said: Said) -> Person:
        person = self._person(said)
        may_give = said.trusted or not person.known
        for name in said.names:
            person = self._join(said, name, person, may_give)
        return person

    def _join(self, said: Said, name: Name, person: Person, may_give: bool) -> Person:
        """Have the person go by this name as well, if that may be. Returns who they are by then."""
        person, holder = self._now(person), self._holder(name)
        if holder is None:
            if may_give or name[0] is IdentityKind.ANONYMOUS_ID:
                self._give(name, person, said.trusted)
            else:
                self._refuse(said, name, NOT_BY_PUBLIC_KEY)
            return person
        if holder is person:
            return person
        if not holder.known or not person.known:
            return self._merge(holder, person)
        if name[0] is IdentityKind.ANONYMOUS_ID:
            return person  # A shared device stays with whom it was.
        if not said.trusted:
            self._refuse(said, name, OF_ANOTHER)
        elif holder.user_ids and person.user_ids:
            self._refuse(said, name, TWO_USER_IDS)
        else:
            return self._merge(holder, person)
        return person

    def _alias(self, said: Said, previous: str) -> Person:
        """An alias says outright that two are one; a public key only of somebody anonymous."""
        person = self._named(said)
        holders = [self._holder((kind, previous)) for kind in PREVIOUS]
        other = next((holder for holder in holders if holder is not None), None)
        if other is None:  # What comes under that name later is theirs.
            self._give((IdentityKind.ANONYMOUS_ID, previous), person, said.trusted)
            if said.trusted:
                self._give((IdentityKind.USER_ID, previous), person, said.trusted)
        elif other is not person:
            if said.trusted or not other.known:
                return self._merge(other, person)
            self._refuse(said, (IdentityKind.USER_ID, previous), OF_ANOTHER)
        return person

    def _holder(self, name: Name) -> Person | None:
        holder = self._holders.get(name)
        return holder and self._now(holder)

    def _now(self, person: Person) -> Person:
        while (became := self._became.get(person.id)) is not None:
            person = became
        return person

    def _make(self) -> Person:
        person = Person(self._new_id(), is_new=True)
        self._made.append(person)
        return person

    def _give(self, name: Name, person: Person, trusted: bool) -> None:
        person.takes(name)
        self._holders[name] = person
        self._given[name] = (person, trusted)

    def _merge(self, other: Person, person: Person) -> Person:
        """Who was there before stays rather than who is new, the known rather than the anonymous."""

        def standing(one: Person) -> tuple[bool, bool]:
            return not one.is_new, one.known

        stays, goes = (other, person) if standing(other) > standing(person) else (person, other)
        stays.known = stays.known or goes.known
        stays.user_ids |= goes.user_ids
        self._became[goes.id] = stays
        return stays

    def _refuse(self, said: Said, name: Name, why: str) -> None:
        self._refused.append(Refused(said.n, *name, why))
