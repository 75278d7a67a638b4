"""Who is who, by rules alone."""

from collections.abc import Sequence
from itertools import count
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.identities import (
    NOT_BY_PUBLIC_KEY,
    OF_ANOTHER,
    TWO_USER_IDS,
    Name,
    Person,
    Resolved,
    Said,
    resolve,
)
from domain.profiles import IdentityKind

USER, EMAIL, PHONE, DEVICE = (
    IdentityKind.USER_ID,
    IdentityKind.EMAIL,
    IdentityKind.PHONE,
    IdentityKind.ANONYMOUS_ID,
)


class World:
    """What is known, as the database would have it, and what becomes of it call by call."""

    def __init__(self) -> None:
        self.names: dict[Name, UUID] = {}
        self.became: dict[UUID, UUID] = {}
        self.ids = (UUID(int=n) for n in count(1))
        self.calls = count(1)

    def hear(self, *said: Said) -> Resolved:
        people: dict[UUID, Person] = {}
        for name, id_ in self.names.items():
            people.setdefault(id_, Person(id_)).takes(name)
        done = resolve(said, {name: people[id_] for name, id_ in self.names.items()}, lambda: next(self.ids))
        self.names = {name: done.merged.get(id_, id_) for name, id_ in self.names.items()}
        for kind, value, person, _ in done.given:
            assert (kind, value) not in self.names
            self.names[kind, value] = person
        self.became |= done.merged
        return done

    def call(self, *names: Name, trusted: bool = False, previous: str | None = None) -> Resolved:
        return self.hear(Said(next(self.calls), trusted, names, previous))

    def who(self, *name: str) -> UUID | None:
        kind, value = name
        return self.names.get((IdentityKind(kind), value))


def whose(done: Resolved) -> UUID:
    [person] = done.persons.values()
    return person


def test_the_first_call_makes_a_person_of_all_its_names() -> None:
    world = World()
    done = world.call((USER, "u"), (EMAIL, "e"), (DEVICE, "d"))
    assert {*world.names.values()} == {whose(done)} == {*done.new}


def test_a_visit_becomes_the_persons_who_is_named_on_it() -> None:
    world = World()
    visitor = whose(world.call((DEVICE, "d")))
    assert whose(world.call((EMAIL, "e"), (DEVICE, "d"))) == visitor
    assert world.who("email", "e") == visitor


def test_a_visit_is_merged_into_whom_we_know_already() -> None:
    world = World()
    known = whose(world.call((USER, "u")))
    visitor = whose(world.call((DEVICE, "d")))
    done = world.call((USER, "u"), (DEVICE, "d"))
    assert (whose(done), done.merged) == (known, {visitor: known})


def test_a_public_key_merges_no_two_known_people_and_what_it_says_is_the_strongest_names() -> None:
    world = World()
    one, other = whose(world.call((USER, "u"))), whose(world.call((EMAIL, "e")))
    done = world.call((USER, "u"), (EMAIL, "e"))
    assert (whose(done), done.merged, world.who("email", "e")) == (one, {}, other)
    assert [each.why for each in done.refused] == [OF_ANOTHER]


def test_a_secret_key_does() -> None:
    world = World()
    one, other = whose(world.call((USER, "u"))), whose(world.call((EMAIL, "e")))
    assert world.call((USER, "u"), (EMAIL, "e"), trusted=True).merged == {other: one}


def test_two_user_ids_are_two_people_whoever_says_otherwise() -> None:
    world = World()
    world.call((USER, "u1"), (EMAIL, "e"), trusted=True)
    done = world.call((USER, "u2"), (EMAIL, "e"), trusted=True)
    assert done.merged == {}
    assert [each.why for each in done.refused] == [TWO_USER_IDS]
    assert world.who("user_id", "u2") != world.who("email", "e") is not None


def test_a_device_that_two_people_share_makes_them_no_one() -> None:
    world = World()
    one = whose(world.call((USER, "u1"), (DEVICE, "d")))
    other = whose(world.call((USER, "u2"), (DEVICE, "d"), trusted=True))
    assert one != other
    assert world.who("anonymous_id", "d") == one


def test_a_public_key_gives_a_known_person_no_other_name_but_a_device() -> None:
    world = World()
    known = whose(world.call((USER, "u")))
    done = world.call((USER, "u"), (EMAIL, "evil"), (DEVICE, "d"))
    assert [each.why for each in done.refused] == [NOT_BY_PUBLIC_KEY]
    assert (world.who("email", "evil"), world.who("anonymous_id", "d")) == (None, known)


def test_an_alias_by_a_secret_key_makes_one_even_of_two_user_ids() -> None:
    world = World()
    one, other = whose(world.call((USER, "new"))), whose(world.call((USER, "old")))
    assert world.call((USER, "new"), trusted=True, previous="old").merged == {other: one}


def test_an_alias_by_a_public_key_makes_one_of_a_visit_alone() -> None:
    world = World()
    world.call((USER, "victim"))
    visitor = whose(world.call((DEVICE, "d")))
    assert world.call((USER, "u"), previous="victim").merged == {}
    assert whose(world.call((USER, "u"), previous="d")) in (visitor, world.who("user_id", "u"))
    assert world.who("anonymous_id", "d") == world.who("user_id", "u")


NAMES = st.lists(
    st.tuples(st.sampled_from([USER, EMAIL, PHONE, DEVICE]), st.sampled_from("ab")),
    min_size=1,
    max_size=4,
    unique_by=lambda name: name[0],
).map(lambda names: sorted(names, key=lambda name: [USER, EMAIL, PHONE, DEVICE].index(name[0])))
CALLS = st.lists(st.tuples(st.booleans(), NAMES, st.none() | st.sampled_from("ab")), max_size=12)


@given(CALLS, st.integers(1, 12))
def test_however_the_calls_are_cut_into_batches_the_same_people_come_out(
    calls: Sequence[tuple[bool, list[Name], str | None]], size: int
) -> None:
    said = [Said(n, trusted, names, previous) for n, (trusted, names, previous) in enumerate(calls)]
    one_by_one, in_batches = World(), World()
    for each in said:
        one_by_one.hear(each)
    for at in range(0, len(said), size):
        in_batches.hear(*said[at : at + size])
    assert circles(one_by_one) == circles(in_batches)


def circles(world: World) -> set[frozenset[Name]]:
    people: dict[UUID, set[Name]] = {}
    for name, id_ in world.names.items():
        people.setdefault(id_, set()).add(name)
    return {frozenset(names) for names in people.values()}


@given(CALLS)
def test_a_public_key_never_changes_which_known_people_there_are(
    calls: Sequence[tuple[bool, list[Name], str | None]],
) -> None:
    """Strong names, once apart or together, stay so; new ones alone may come to who was anonymous."""
    world = World()
    for n, (_, names, previous) in enumerate(calls):
        before = dict(world.names)
        known = {id_ for (kind, _), id_ in before.items() if kind is not DEVICE}
        world.hear(Said(n, False, names, previous))
        strong = [name for name in before if name[0] is not DEVICE]
        for one in strong:
            for other in strong:
                together = world.names[one] == world.names[other]
                assert together == (before[one] == before[other])
        for name, id_ in world.names.items():
            if name not in before and name[0] is not DEVICE:
                assert id_ not in known
