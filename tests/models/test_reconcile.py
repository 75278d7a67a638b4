"""What stays unknown is left as it is, or sent again as a new line: as its workspace chose."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from domain.messages import SourceKind
from domain.outboxes import express
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import attachments, claims, notes, profiles_erased, profiles_merged, reconcile
from models.queries.attachments import File
from models.queries.ledger import Queue
from tests.people import a_message
from tests.sending import NOW, a_bare_message, a_sender, at, people, some
from tests.support import eventually, somebody_waits

EXPRESS = Queue(DEFAULT_WORKSPACE, express(DEFAULT_WORKSPACE), SourceKind.OUTBOX)
OUTBOX = Queue(DEFAULT_WORKSPACE, DEFAULT_WORKSPACE, SourceKind.OUTBOX)


async def an_unknown_message(
    sessions: Sessions, policy: str = "resend", *, bare: bool = False, **values: Any
) -> UUID:
    """A message that became unknown, and is looked at now."""
    known: dict[str, Any] = {"state": "unknown", "reconcile_at": NOW, **values}
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, unknown_policy=policy)
        if bare:
            return (await a_bare_message(db, "eve@elsewhere.example", **known))[1]
        campaign = uuid4()
        origin: dict[str, Any] = {"queue_id": campaign, "source_id": campaign, "source_kind": "campaign"}
        [person] = await people(db, 1)
        return await a_message(db, person, occasion=campaign, **origin, **known)


async def decided(sessions: Sessions, hours: float = 0) -> tuple[int, int]:
    async with sessions.engine() as db:
        return await reconcile.decide(db, at(hours))


async def lines(sessions: Sessions, asked: str) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await some(db, f"select {asked} from messages order by resend")


async def test_an_unknown_message_is_left_alone_unless_the_workspace_chose_otherwise(
    sessions: Sessions,
) -> None:
    await an_unknown_message(sessions, "leave")

    assert await decided(sessions) == (0, 1)
    assert await decided(sessions) == (0, 0)
    assert await lines(sessions, "state") == ["unknown"]


async def test_nothing_is_decided_before_its_time(sessions: Sessions) -> None:
    await an_unknown_message(sessions, reconcile_at=at(1))

    assert await decided(sessions, 0.99) == (0, 0)
    assert await decided(sessions, 1) == (1, 0)


async def test_a_message_is_sent_again_as_a_line_of_its_own(sessions: Sessions) -> None:
    first = await an_unknown_message(sessions)

    assert await decided(sessions) == (1, 0)
    assert await lines(sessions, "state || ' ' || resend") == ["unknown 0", "queued 1"]
    for same in (
        "source_id",
        "source_kind",
        "step",
        "profile_id",
        "occasion",
        "visit",
        "template_version_id",
    ):
        assert len(set(await lines(sessions, same))) == 1
    async with sessions(DEFAULT_WORKSPACE) as db:
        claim = await claims.claim(db, OUTBOX, uuid7(), NOW, 60, 10)
        assert [message.address for message in claim.claimed] == ["p1@shop.example"]
        assert claim.claimed[0].id != first
        assert claim.claimed[0].holes is None  # Written anew, for who the person is now.


async def test_whoever_sends_for_the_outbox_is_poked(sessions: Sessions) -> None:
    await an_unknown_message(sessions)
    await decided(sessions)

    async with sessions.engine() as db:
        assert await some(db, "select queue_id from pokes where work = 'send'") == [DEFAULT_WORKSPACE]


async def test_a_mail_to_a_bare_address_is_sent_again_as_it_was_written(sessions: Sessions) -> None:
    await an_unknown_message(sessions, bare=True, holes=["Eve"])

    assert await decided(sessions) == (1, 0)
    async with sessions(DEFAULT_WORKSPACE) as db:
        claim = await claims.claim(db, OUTBOX, uuid7(), NOW, 60, 10)
    assert [(m.address, m.holes) for m in claim.claimed] == [("eve@elsewhere.example", ["Eve"])]


async def test_a_single_message_is_sent_again_with_its_words_and_its_files(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, unknown_policy="resend")
        [person] = await people(db, 1)
        known: dict[str, Any] = {"state": "unknown", "reconcile_at": NOW, "message_class": "transactional"}
        first = await a_message(db, person, holes=["4711"], **known)
        files = [(first, File(name, "a/b", name.encode())) for name in ("b.txt", "a.txt")]
        await attachments.add(db, DEFAULT_WORKSPACE, files)

    assert await decided(sessions) == (1, 0)
    async with sessions.engine() as db:
        assert await some(db, "select queue_id from pokes where work = 'send'") == [EXPRESS.id]
    async with sessions(DEFAULT_WORKSPACE) as db:
        [again] = (await claims.claim(db, EXPRESS, uuid7(), NOW, 60, 10)).claimed
        assert again.holes == ["4711"]
        sent = await attachments.of(db, DEFAULT_WORKSPACE, again.id)
        assert sent == [file for _, file in files] == await attachments.of(db, DEFAULT_WORKSPACE, first)


async def test_a_message_sent_again_expires_when_the_first_would_have(sessions: Sessions) -> None:
    await an_unknown_message(sessions, expires_at=at(2))
    await decided(sessions)

    assert await lines(sessions, "expires_at") == [at(2), at(2)]


async def test_a_message_is_sent_again_once(sessions: Sessions) -> None:
    """A server that keeps every mail and never says so must not get one a minute."""
    await an_unknown_message(sessions)
    await decided(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        again = (
            "update messages set state = 'unknown', closed_at = :now, reconcile_at = :now where resend = 1"
        )
        await db.execute(text(again), {"now": NOW})
        await db.execute(text("delete from queue"))

    assert await decided(sessions) == (0, 1)
    assert await lines(sessions, "state") == ["unknown", "unknown"]


@pytest.mark.parametrize("truth", ["accepted", "failed"])
async def test_what_is_known_by_then_is_not_sent_again(sessions: Sessions, truth: str) -> None:
    await an_unknown_message(sessions, state=truth)

    assert await decided(sessions) == (0, 1)
    assert await lines(sessions, "state") == [truth]


@pytest.mark.parametrize("theirs", ["accepted", "queued"])
async def test_who_turned_out_to_be_somebody_who_got_it_gets_nothing_again(
    sessions: Sessions, theirs: str
) -> None:
    """Two profiles had a line each, and are one person by now: of what is queued for them, one goes."""
    await an_unknown_message(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        [source] = await some(db, "select source_id from messages")
        [person] = await some(db, "select id from profiles")
        [other] = await people(db, 1, prefix="other")
        origin = {"source_id": source, "source_kind": "campaign", "occasion": source}
        await a_message(db, other, **origin, state=theirs)
        await profiles_merged.merge(db, person, other, NOW)
    assert await decided(sessions) == (1, 0)

    async with sessions(DEFAULT_WORKSPACE) as db:
        claim = await claims.claim(db, OUTBOX, uuid7(), at(1), 60, 10)
    assert len(claim.claimed) == (1 if theirs == "queued" else 0)
    assert (await lines(sessions, "reason")).count("merged") == 1


async def test_who_was_erased_meanwhile_gets_nothing_again(sessions: Sessions) -> None:
    await an_unknown_message(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        [person] = await some(db, "select id from profiles")
        await profiles_erased.erase(db, person, NOW)
    await decided(sessions)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert not (await claims.claim(db, OUTBOX, uuid7(), NOW, 60, 10)).claimed
    assert await lines(sessions, "reason") == [None, "erased"]


@pytest.mark.parametrize("bare", [False, True])
async def test_who_is_erased_while_it_is_sent_again_leaves_no_word_behind(
    sessions: Sessions, bare: bool
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, unknown_policy="resend")
        [person] = await people(db, 1)
        [address] = await some(db, "select value from identities where kind = 'email'")
        known: dict[str, Any] = {"state": "unknown", "reconcile_at": NOW, "message_class": "transactional"}
        first = await a_message(db, None if bare else person, address, holes=["4711"], **known)
        await attachments.add(db, DEFAULT_WORKSPACE, [(first, File("a.txt", "text/plain", b"4711"))])

    async def erased() -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await profiles_erased.erase(db, person, NOW)

    async with sessions.engine() as db:
        assert await reconcile.decide(db, NOW) == (1, 0)
        await notes.add(db, DEFAULT_WORKSPACE, [notes.Note(first, NOW, "It was looked at.")])
        erasing = asyncio.create_task(erased())
        await eventually(lambda: somebody_waits(sessions))
    await erasing

    assert await lines(sessions, "num_nulls(holes, bare, address)") == [3, 3]
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert not await some(db, "select message_id from attachments")
        assert not await some(db, "select message_id from message_notes")


async def test_each_workspace_is_heard(sessions: Sessions) -> None:
    await an_unknown_message(sessions)
    elsewhere = uuid4()
    async with sessions.engine() as db:
        await db.execute(text("insert into workspaces (id, name) values (:id, 'x')"), {"id": elsewhere})
    async with sessions(elsewhere) as db:
        here = {"here": elsewhere, "now": NOW}
        for statement in _ELSEWHERE:
            await db.execute(text(statement), here)

    assert await decided(sessions) == (1, 1)
    async with sessions(elsewhere) as db:
        assert await some(db, "select state from messages") == ["unknown"]


_ELSEWHERE = (
    "insert into templates (workspace_id, name) values (:here, 'x')",
    """
    insert into template_versions (workspace_id, template_id, number, subject, html)
    select :here, id, 1, 'x', 'x' from templates
    """,
    """
    insert into messages (workspace_id, queue_id, source_id, source_kind, step, occasion, channel, class,
        template_version_id, bare, state, due_at, closed_at, reconcile_at)
    select :here, :here, :here, 'outbox', 'x', :here, 'email', 'test', id, 'x@y.example', 'unknown', :now,
        :now, :now
    from template_versions
    """,
)
