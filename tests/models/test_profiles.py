"""What people said holds: unsubscribed, suppressed, merged, erased; and two at once change nothing twice."""

import asyncio
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, NotFound
from domain.profiles import (
    ConsentSource,
    ConsentState,
    IdentityKind,
    Purpose,
    SuppressionReason,
    address_hash,
)
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import profiles
from models.queries.profiles_erased import erase
from models.queries.profiles_merged import merge
from models.workspaces import Workspace
from tests.people import (
    LATER,
    NOON,
    a_flow,
    a_journey,
    a_message,
    a_person,
    a_version,
    an_order,
    rows,
)

EMAIL, TRACKING = Purpose.EMAIL, Purpose.TRACKING
GRANTED, DENIED = ConsentState.GRANTED, ConsentState.DENIED
ADA = "ada@shop.example"


async def consents(
    db: AsyncSession, profile_id: UUID, purpose: Purpose = EMAIL
) -> list[tuple[str, str, bool]]:
    """The history: state, source, and whether it is the one that holds."""
    return await rows(
        db,
        "select state, source, ended_at is null from consents"
        " where profile_id = :profile and purpose = :purpose order by at, id",
        profile=profile_id,
        purpose=purpose,
    )


async def suppressions(db: AsyncSession) -> list[tuple[str, str | None, bool]]:
    return await rows(db, "select reason, address, ended_at is null from suppressions order by at, id")


async def test_a_person_is_found_by_an_address_however_it_is_written(db: AsyncSession) -> None:
    ada = await a_person(db, ADA)
    assert await profiles.find(db, IdentityKind.EMAIL, " Ada@Shop.Example ") == ada
    assert await profiles.find(db, IdentityKind.USER_ID, ADA) is None


async def test_a_template_may_print_the_attributes_and_the_address(db: AsyncSession) -> None:
    ada = await a_person(db, ADA, name="Ada")
    assert await profiles.variables(db, ada) == {"name": "Ada", "email": ADA}
    with pytest.raises(NotFound):
        await profiles.variables(db, uuid4())


async def test_who_unsubscribes_has_denied_and_their_address_is_suppressed(db: AsyncSession) -> None:
    ada = await a_person(db, ADA)
    message = await a_message(db, ada, ADA)

    assert await profiles.unsubscribe(db, message, LATER)

    assert await consents(db, ada) == [
        ("granted", "import", False),
        ("denied", "one-click unsubscribe", True),
    ]
    assert await consents(db, ada, TRACKING) == [("granted", "import", True)]
    assert await suppressions(db) == [("unsubscribed", ADA, True)]
    assert await rows(db, "select address_hash from suppressions") == [address_hash(ADA)]
    assert await rows(db, "select kind, message_id, at from message_events") == [
        ("unsubscribed", message, LATER)
    ]


async def test_unsubscribing_twice_at_once_is_unsubscribing_once(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db, ADA)
        message = await a_message(db, ada, ADA)

    async def once() -> bool:
        async with sessions(DEFAULT_WORKSPACE) as db:
            return await profiles.unsubscribe(db, message, LATER)

    assert sorted(await asyncio.gather(*(once() for _ in range(8)))) == [False] * 7 + [True]
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert len(await consents(db, ada)) == 2
        assert len(await suppressions(db)) == 1
        assert len(await rows(db, "select id from message_events")) == 1


async def test_an_alias_unsubscribes_the_person_it_was_merged_into(db: AsyncSession) -> None:
    old, ada = await a_person(db, "old@shop.example"), await a_person(db, ADA)
    message = await a_message(db, old, "old@shop.example")
    await merge(db, old, ada, NOON)

    await profiles.unsubscribe(db, message, LATER, ConsentSource.UNSUBSCRIBE_PAGE)

    assert (await consents(db, ada))[-1] == ("denied", "unsubscribe page", True)
    assert await suppressions(db) == [("unsubscribed", "old@shop.example", True)]


async def test_a_bare_address_is_suppressed_and_whoever_goes_by_it_has_denied(db: AsyncSession) -> None:
    version = await a_version(db)
    stranger = await a_message(db, None, "who@shop.example", template_version_id=version)
    ada = await a_person(db, ADA)
    to_ada = await a_message(db, None, ADA, template_version_id=version)

    await profiles.unsubscribe(db, stranger, NOON)
    await profiles.unsubscribe(db, to_ada, LATER)

    assert await suppressions(db) == [
        ("unsubscribed", "who@shop.example", True),
        ("unsubscribed", ADA, True),
    ]
    assert (await consents(db, ada))[-1][0] == "denied"


async def test_a_message_that_is_gone_unsubscribes_nobody(db: AsyncSession) -> None:
    with pytest.raises(NotFound):
        await profiles.unsubscribe(db, uuid4(), NOON)


async def test_a_person_can_be_unsubscribed_without_a_message(db: AsyncSession) -> None:
    ada = await a_person(db, ADA)
    assert await profiles.unsubscribe_profile(db, ada, LATER, "support")
    assert not await profiles.unsubscribe_profile(db, ada, LATER, "support")
    assert await suppressions(db) == [("unsubscribed", ADA, True)]


@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [
        (SuppressionReason.UNSUBSCRIBED, SuppressionReason.HARD_BOUNCE, ["unsubscribed", "hard bounce"]),
        (SuppressionReason.COMPLAINED, SuppressionReason.UNSUBSCRIBED, ["complained"]),
        (SuppressionReason.HARD_BOUNCE, SuppressionReason.COMPLAINED, ["hard bounce"]),
    ],
)
async def test_only_an_unsubscribe_gives_way_to_another_reason(
    db: AsyncSession, first: SuppressionReason, then: SuppressionReason, kept: list[str]
) -> None:
    assert await profiles.suppress(db, "email", ADA, first, "test", NOON)
    assert await profiles.suppress(db, "email", "ADA@shop.example", then, "test", LATER) is (len(kept) == 2)
    found = await suppressions(db)
    assert [reason for reason, _, _ in found] == kept
    assert [holds for _, _, holds in found] == [False] * (len(kept) - 1) + [True]


async def test_a_bounce_and_an_unsubscribe_at_once_end_as_a_bounce(sessions: Sessions) -> None:
    async def suppress(address: str, reason: SuppressionReason) -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await profiles.suppress(db, "email", address, reason, "test", NOON)

    await asyncio.gather(
        *(
            suppress(f"{n}@shop.example", reason)
            for n in range(10)
            for reason in (SuppressionReason.UNSUBSCRIBED, SuppressionReason.HARD_BOUNCE)
        )
    )
    async with sessions(DEFAULT_WORKSPACE) as db:
        holding = [reason for reason, _, holds in await suppressions(db) if holds]
        assert holding == ["hard bounce"] * 10


async def test_no_list_undoes_an_unsubscribe_but_the_person_does(db: AsyncSession) -> None:
    ada = await a_person(db, ADA)
    await profiles.unsubscribe(db, await a_message(db, ada, ADA), NOON)

    assert not await profiles.consent(db, ada, EMAIL, GRANTED, "import", LATER)
    assert await profiles.consent(db, ada, EMAIL, GRANTED, ConsentSource.PERSON, LATER)

    assert (await consents(db, ada))[-1] == ("granted", "person", True)
    assert await suppressions(db) == [("unsubscribed", ADA, False)]


async def test_what_a_file_denied_a_file_may_grant_until_the_person_denies_too(db: AsyncSession) -> None:
    ada = await a_person(db, ADA, {"email": "denied"})
    assert await profiles.consent(db, ada, EMAIL, GRANTED, "import", NOON)
    assert not await profiles.consent(db, ada, EMAIL, GRANTED, "import", NOON)
    assert await profiles.consent(db, ada, EMAIL, DENIED, "import", NOON)
    assert await profiles.consent(db, ada, EMAIL, DENIED, ConsentSource.PERSON, NOON)
    assert not await profiles.consent(db, ada, EMAIL, GRANTED, "import", LATER)


async def test_a_persons_yes_does_not_lift_a_bounce(db: AsyncSession) -> None:
    ada = await a_person(db, ADA, {})
    await profiles.suppress(db, "email", ADA, SuppressionReason.HARD_BOUNCE, "test", NOON)
    await profiles.consent(db, ada, EMAIL, GRANTED, ConsentSource.PERSON, LATER)
    assert await suppressions(db) == [("hard bounce", ADA, True)]


async def test_an_erased_person_leaves_a_hash_and_counts(db: AsyncSession) -> None:
    old, ada = await a_person(db, "old@shop.example", name="Old"), await a_person(db, ADA, name="Ada")
    await merge(db, old, ada, NOON)
    version = await a_version(db)
    said = {"template_version_id": version, "reason": f"550 <{ADA}> unknown", "detail": "Ada"}
    failed = await a_message(db, ada, ADA, state="failed", **said)
    claimed = await a_message(db, old, ADA, state="claimed", attempt=uuid4(), template_version_id=version)
    bare = await a_message(db, None, ADA, template_version_id=version)
    others = await a_message(db, await a_person(db, "bob@shop.example"), template_version_id=version)
    await profiles.unsubscribe(db, failed, NOON)
    journey = await a_journey(db, await a_flow(db), ada, properties={"name": "Ada"})

    for _ in range(2):
        await erase(db, old, LATER)

    assert await rows(db, "select value from identities") == ["bob@shop.example"]
    assert (
        await rows(db, "select attributes, erased_at from profiles where erased_at is not null")
        == [({}, LATER)] * 2
    )
    assert await rows(
        db, "select reason, address from suppressions where ended_at is null order by reason"
    ) == [
        ("erased", None),
        ("erased", None),
    ]
    assert await rows(db, "select count(*) from suppressions where address is not null") == [0]
    assert (
        await rows(db, "select address, bare, holes, detail from messages where id <> :others", others=others)
        == [(None, None, None, None)] * 3
    )
    assert await rows(db, "select reason from messages where id = :id", id=failed) == ["550 <…> unknown"]
    assert await rows(db, "select state, attempt from messages where id = :id", id=claimed) == [
        ("queued", None)
    ]
    assert await rows(db, "select state from messages where id = :id", id=bare) == ["accepted"]
    assert await rows(db, "select holes from messages where id = :id", id=others) == [["Ada"]]
    assert await rows(
        db, "select outcome, properties, due_at from enrollments where id = :id", id=journey
    ) == [("erased", {}, None)]
    assert [holds for _, _, holds in await consents(db, ada)] == [False] * len(await consents(db, ada))
    with pytest.raises(NotFound):
        await profiles.variables(db, ada)
    with pytest.raises(Conflict):
        await merge(db, await a_person(db), ada, LATER)


async def test_merging_moves_names_and_fills_what_the_survivor_lacks(db: AsyncSession) -> None:
    old = await a_person(db, "old@shop.example", name="Old", city="Bonn", plan="free")
    ada = await a_person(db, ADA, name="Ada", plan=None)

    assert await merge(db, old, ada, LATER)
    assert not await merge(db, old, ada, LATER)

    assert await profiles.variables(db, old) == {
        "name": "Ada",
        "city": "Bonn",
        "plan": "free",
        "email": ADA,
    }
    assert await profiles.find(db, IdentityKind.EMAIL, "old@shop.example") == ada
    assert await rows(db, "select value, is_primary from identities order by value") == [
        (ADA, True),
        ("old@shop.example", False),
    ]


async def test_a_name_stays_primary_where_the_survivor_has_none(db: AsyncSession) -> None:
    old, ada = await a_person(db, "old@shop.example"), await a_person(db)
    await merge(db, old, ada, LATER)
    assert await rows(db, "select value, is_primary from identities") == [("old@shop.example", True)]


async def test_an_alias_never_leads_to_another(db: AsyncSession) -> None:
    a, b, c = [await a_person(db) for _ in "abc"]
    await merge(db, a, b, NOON)
    await merge(db, a, c, LATER)  # Which is to merge b into c.
    assert await rows(db, "select distinct merged_into from profiles where merged_into is not null") == [c]


async def test_merging_the_same_two_either_way_at_once_makes_one_person(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        pairs = [(await a_person(db), await a_person(db)) for _ in range(5)]

    async def join(one: UUID, other: UUID) -> bool:
        async with sessions(DEFAULT_WORKSPACE) as db:
            return await merge(db, one, other, NOON)

    done = await asyncio.gather(*(join(*order) for a, b in pairs for order in ((a, b), (b, a))))

    assert sum(done) == 5
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select count(*) from profiles where merged_into is not null") == [5]


async def test_a_merge_and_an_unsubscribe_at_once_leave_a_denial(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        people = [
            (await a_person(db, f"{n}@old.example"), await a_person(db, f"{n}@shop.example"))
            for n in range(8)
        ]
        version = await a_version(db)
        messages = [
            await a_message(db, old, f"{n}@old.example", template_version_id=version)
            for n, (old, _) in enumerate(people)
        ]

    async def join(old: UUID, ada: UUID) -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await merge(db, old, ada, NOON)

    async def leave(message: UUID) -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await profiles.unsubscribe(db, message, NOON)

    await asyncio.gather(*(join(*pair) for pair in people), *(leave(message) for message in messages))
    async with sessions(DEFAULT_WORKSPACE) as db:
        for _, ada in people:
            holding = [state for state, _, holds in await consents(db, ada) if holds]
            assert holding == ["denied"]


@pytest.mark.parametrize(
    ("alias", "survivor", "merged"),
    [
        ("denied", "granted", "denied"),
        ("granted", "denied", "denied"),
        ("granted", None, "granted"),
        (None, "granted", "granted"),
        ("denied", "denied", "denied"),
    ],
)
async def test_a_denial_wins_over_a_grant(
    db: AsyncSession, alias: str | None, survivor: str | None, merged: str
) -> None:
    old = await a_person(db, None, {"email": alias} if alias else {})
    ada = await a_person(db, None, {"email": survivor} if survivor else {})
    await merge(db, old, ada, LATER)
    history = await consents(db, ada)
    assert [state for state, _, holds in history if holds] == [merged]
    assert len(history) == sum(each is not None for each in (alias, survivor))


async def test_orders_and_their_sums_are_the_survivors(db: AsyncSession) -> None:
    old, ada = await a_person(db), await a_person(db)
    await an_order(db, old, 10, NOON)
    await an_order(db, old, 7, NOON, "EUR")
    await an_order(db, ada, 5, LATER)

    await merge(db, old, ada, LATER)

    assert await rows(db, "select distinct profile_id from orders") == [ada]
    assert await rows(
        db,
        "select profile_id, currency, total, count, first_at, last_at from order_rollups order by currency",
    ) == [(ada, "EUR", 7, 1, NOON, NOON), (ada, "USD", 15, 2, NOON, LATER)]


async def test_a_merge_rewrites_no_message_and_ends_only_the_journey_made_twice(db: AsyncSession) -> None:
    old, ada = await a_person(db), await a_person(db)
    both, one = await a_flow(db), await a_flow(db)
    await a_journey(db, both, ada)
    twice = await a_journey(db, both, old, waiting_for="message", due_at=None)
    order = await a_journey(db, both, old, "order 7")
    alone = await a_journey(db, one, old)
    queued = await a_message(db, old, state="queued", occasion=twice)
    sent = await a_message(db, old)

    await merge(db, old, ada, LATER)

    ended = await rows(db, "select id, outcome from enrollments where ended_at is not null")
    assert ended == [(twice, "merged")]
    going_on = await rows(
        db, "select id from enrollments where profile_id = :old and ended_at is null", old=old
    )
    assert set(going_on) == {order, alone}
    assert await rows(db, "select state, reason, profile_id from messages where id = :id", id=queued) == [
        ("skipped", "merged", old)
    ]
    assert await rows(db, "select state, profile_id from messages where id = :id", id=sent) == [
        ("accepted", old)
    ]


async def test_caps_count_what_both_were_sent(db: AsyncSession) -> None:
    old, ada = await a_person(db), await a_person(db)
    count = "insert into cap_counters values (:ws, :who, 'email', 'day', '2026-03-01', :n) returning n"
    await rows(db, count, ws=DEFAULT_WORKSPACE, who=old, n=2)
    await rows(db, count, ws=DEFAULT_WORKSPACE, who=ada, n=1)
    await merge(db, old, ada, LATER)
    assert await rows(db, "select profile_id, n from cap_counters") == [(ada, 3)]


async def test_nothing_reaches_over_the_wall(sessions: Sessions) -> None:
    elsewhere = uuid4()
    async with sessions(elsewhere) as db:
        db.add(Workspace(id=elsewhere, name="Elsewhere"))
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada, bob = await a_person(db, ADA), await a_person(db, "bob@shop.example")
        message = await a_message(db, ada, ADA)

    async with sessions(elsewhere) as db:
        assert await profiles.find(db, IdentityKind.EMAIL, ADA) is None
        await profiles.suppress(db, "email", ADA, SuppressionReason.MANUAL, "test", NOON)
    for trespass in (
        lambda db: profiles.unsubscribe(db, message, NOON),
        lambda db: profiles.variables(db, ada),
        lambda db: profiles.consent(db, ada, EMAIL, DENIED, "test", NOON),
        lambda db: erase(db, ada, NOON),
        lambda db: merge(db, ada, bob, NOON),
    ):
        with pytest.raises(NotFound):
            async with sessions(elsewhere) as db:
                await trespass(db)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await suppressions(db) == []
        assert await consents(db, ada) == [("granted", "import", True)]
    async with sessions.engine() as db:  # And without a workspace, the engine changes nothing either.
        with pytest.raises(NotFound):
            await erase(db, ada, NOON)
