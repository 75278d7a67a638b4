"""Every rule means the same for one profile, in Python, and for all of them, in SQL."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as some
from sqlalchemy import select

from dev.postgres import Postgres
from domain.conditions import (
    Attribute,
    Consent,
    Identity,
    InFlow,
    Topic,
)
from domain.deeds import Event, Message, Orders, Sequence_
from domain.events import ORDER_PLACED
from domain.facts import Person
from domain.segments import Rule, as_json, conditions, holds, parse
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.flows import Enrollment
from models.queries import segments
from tests.databases import a_clone
from tests.made_up import quick_people
from tests.populations import BRANCHING, HOT, apart, furnish, settle
from tests.rules import ATOMS, MESSAGES, NOON, ZONES, branches, near

WORDS = {**ATOMS, **MESSAGES}
PARTS = 24  # Of the language, each a test: so that several can be tried side by side with others.
AT_ONCE = 3  # Of the words that are tried in an example.
EACH = 7  # Examples; more than 500 in all.
TURNS = 20  # So often are those tried again that had no member yet, or the like.
# Without shrinking: what fails has its rule in the message, and is tried alone soon enough.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def is_missing(condition: Rule, person: Person) -> bool:
    """Whether the person has nothing of what the condition asks about."""
    match condition:
        case Attribute():
            return person.attributes.get(condition.name) is None
        case Identity():
            return not person.names.get(condition.name)
        case Orders():
            return all(each.currency != (condition.currency or "USD") for each in person.purchases)
        case Event():
            return condition.name not in _names_of(person)
        case Sequence_():
            return condition.steps[0].name not in _names_of(person)
        case InFlow():
            return all(each.flow_id != condition.flow_id for each in person.journeys)
        case Consent():
            return condition.purpose not in person.consents
        case Topic():
            return condition.topic_id not in person.topics
        case Message():
            return condition.step not in person.replies
    has = {
        "messages": person.messages,
        "suppressed": person.suppressed,
        "list": person.lists,
        "tag": person.tags,
    }
    return not has.get(getattr(condition, "kind", ""))


def _names_of(person: Person) -> set[str]:
    return {each.name for each in person.events} | ({ORDER_PLACED} if person.purchases else set())


class Tried:
    """Of each word of the language: whether it had a member, a non-member and somebody without a value."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self.met: dict[str, set[str]] = defaultdict(set)

    def note(self, word: str, condition: Rule, crowd: list[Person], manners: dict[str, Any]) -> None:
        for person in crowd:
            self.met[word].add("member" if holds(condition, person, **manners) else "non-member")
            if is_missing(condition, person):
                self.met[word].add("missing")

    def lacking(self) -> list[str]:
        return [word for word in self.words if len(self.met[word]) < 3]


@pytest.mark.parametrize("part", range(PARTS))
def test_every_rule_picks_the_same_people_in_python_and_in_sql(postgres: Postgres, part: int) -> None:
    clone = a_clone(postgres)
    mine = [*WORDS][part::PARTS]
    tried = Tried(mine)
    with asyncio.Runner() as runner:
        sessions = Sessions(clone.url, clone.engine_url)
        runner.run(_furnish(sessions))

        words, turns = mine, TURNS
        while words and turns:
            for some_words in _batches(words, AT_ONCE):
                examples(runner, sessions, some_words, tried, turns)
            words, turns = tried.lacking(), turns - 1
        runner.run(sessions.close())
    postgres.drop_database(clone.name)
    assert {word: tried.met[word] for word in tried.lacking()} == {}


async def _furnish(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await furnish(db)


def examples(
    runner: asyncio.Runner, sessions: Sessions, words: Sequence[str], tried: Tried, turn: int
) -> None:
    """Try some words of the language, each on its own, and a tree of any."""
    atoms: some.SearchStrategy[Any] = some.tuples(*(WORDS[word] for word in words))

    @settings(max_examples=EACH, deadline=None, phases=PHASES)
    @given(
        some.lists(quick_people, min_size=3, max_size=5),
        branches,
        atoms,
        some.sampled_from(ZONES),
        some.data(),
    )
    def example(
        crowd: list[Person], tree: Any, atoms: Sequence[Any], zone: str, data: some.DataObject
    ) -> None:
        crowd = apart(crowd)
        manners: dict[str, Any] = {"now": NOON, "time_zone": zone, "currency": "USD"}
        rules = [parse(tree, in_flow=True)]
        for word, atom in zip(words, atoms, strict=True):
            found = _found(atom, crowd)
            mostly = data.draw(some.integers(0, 3)) > 0
            if found and mostly:
                rules.append(parse(near(atom, data.draw(some.sampled_from(found))), in_flow=True))
            else:
                rules.append(parse(atom, in_flow=True))
            tried.note(word, rules[-1], crowd, manners)
        runner.run(_means_the_same(sessions, crowd, rules, manners))

    # Where runs are to be repeatable (hypothesis sees that of CI), each turn still brings other examples.
    seed(turn)(example)() if settings().derandomize else example()


def _batches(words: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    yield from (words[at : at + size] for at in range(0, len(words), size))


def _found(atom: dict[str, Any], crowd: Sequence[Person]) -> list[Any]:
    """What people have of that which a condition asks about, where it is a value."""
    match atom["kind"]:
        case "attribute":
            held = (person.attributes.get(atom["name"]) for person in crowd)
            return [value for value in held if value is not None]
        case "identity":
            return [name for person in crowd for name in sorted(person.names.get(atom["name"], ()))]
    return []


async def _means_the_same(
    sessions: Sessions, crowd: list[Person], rules: list[Rule], manners: dict[str, Any]
) -> None:
    """Asked of everybody at once, and then of a few, or in a branch of a flow."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        await settle(db, crowd)
        for nth, rule in enumerate(rules):
            expected = {person.id for person in crowd if holds(rule, person, **manners)}
            of_a_journey = any(isinstance(each, Message) for each in conditions(rule))
            if not of_a_journey:
                asked = (
                    segments.all_members(rule, **manners, hot=HOT)
                    if nth % 2
                    else segments.members(rule, **manners)
                )
                found = [*await db.scalars(asked)]
                assert sorted(found) == sorted(expected), (as_json(rule), nth % 2)
            if of_a_journey or nth == 2:
                met = segments.where(
                    rule, profile_id=Enrollment.profile_id, enrollment=Enrollment.id, **manners
                )
                asked = select(Enrollment.profile_id).where(Enrollment.flow_id == BRANCHING, met)
            else:
                asked = segments.members(rule, **manners, each=True)
            assert set(await db.scalars(asked)) == expected, as_json(rule)
        await db.rollback()
