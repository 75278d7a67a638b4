"""Single messages on their way: their files, and what their stories keep of each provider's no."""

from dataclasses import replace
from uuid import UUID

from channels.contract import Attachment, Envelope, Outcome
from domain.channels import Channel
from domain.messages import MessageClass, SourceKind
from domain.outboxes import express
from domain.templates import Template
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import bodies, singles
from models.queries.attachments import File
from models.queries.ledger import Queue
from models.queries.singles import Single
from tests.activities.test_routing import ABILITIES, REFUSED, YES, a_provider, hold, sent
from tests.sending import NOW, a_sender, some

QUEUE = Queue(DEFAULT_WORKSPACE, express(DEFAULT_WORKSPACE), SourceKind.OUTBOX)
RECEIPT = File("receipt.pdf", "application/pdf", b"%PDF")


async def asked_for(sessions: Sessions, *files: list[File]) -> list[UUID]:
    """A message to a bare address for each of these lists of files."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        version = await bodies.version(db, DEFAULT_WORKSPACE, Template("Hi", "<p>Hi</p>"))
        one = Single(
            channel=Channel.EMAIL,
            message_class=MessageClass.TRANSACTIONAL,
            template_version_id=version,
            profile_id=None,
            bare="ada@example.com",
            holes=[],
            due_at=NOW,
            expires_at=None,
            note="Ada asked for it.",
        )
        return await singles.write(db, DEFAULT_WORKSPACE, [replace(one, files=each) for each in files], NOW)


async def story(sessions: Sessions, message_id: UUID) -> list[str]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        told = await singles.told(db, await singles.get(db, message_id), NOW)
        return [each.what for each in told]


async def test_a_message_with_files_goes_alone_and_takes_them_along(sessions: Sessions) -> None:
    able = replace(ABILITIES, attachments=True)
    taken: dict[UUID, tuple[Attachment, ...]] = {}

    def answer(envelope: Envelope) -> Outcome:
        taken[envelope.id] = envelope.attachments
        return YES

    desk = await a_provider(sessions, answer, message_class="transactional")
    desk.capabilities = able
    plain, carrying, other = await asked_for(sessions, [], [RECEIPT, RECEIPT], [])

    await sent(sessions, QUEUE)

    assert sorted(map(sorted, desk.calls)) == sorted([sorted([plain, other]), [carrying]])
    assert taken == {plain: (), other: (), carrying: (Attachment(*RECEIPT), Attachment(*RECEIPT))}


async def test_files_go_by_a_provider_that_takes_them(sessions: Sessions) -> None:
    without = await a_provider(sessions, message_class="transactional")
    able = await a_provider(sessions, message_class="transactional", priority=2)
    able.capabilities = replace(ABILITIES, attachments=True)
    plain, carrying = await asked_for(sessions, [], [RECEIPT])

    await sent(sessions, QUEUE)

    assert (without.calls, able.calls) == ([[plain]], [[carrying]])


async def test_the_story_keeps_each_no_and_who_said_it(sessions: Sessions) -> None:
    await a_provider(sessions, lambda _: REFUSED, message_class="transactional")
    await a_provider(sessions, lambda _: YES, message_class="transactional", priority=2)
    [message] = await asked_for(sessions, [])

    await sent(sessions, QUEUE)

    assert await story(sessions, message) == [
        "Ada asked for it.",
        '"Desk" did not take it: 503 down.',
        "Its turn came, for ada@example.com.",
        'It went out by "Desk".',
        "It was accepted.",
    ]


async def test_the_story_names_whose_turn_it_would_have_been_and_why_it_was_not(sessions: Sessions) -> None:
    held = await a_provider(sessions, message_class="transactional")
    await a_provider(sessions, message_class="transactional", priority=2)
    await hold(sessions, held)
    [message] = await asked_for(sessions, [])

    await sent(sessions, QUEUE)

    assert await story(sessions, message) == [
        "Ada asked for it.",
        '"Desk" was passed over: it is held by hand until somebody releases it: a fault.',
        "Its turn came, for ada@example.com.",
        'It went out by "Desk".',
        "It was accepted.",
    ]


async def test_a_no_that_nobody_else_could_mend_is_told_with_what_it_waits_for(sessions: Sessions) -> None:
    await a_provider(sessions, lambda _: REFUSED, message_class="transactional")
    [message] = await asked_for(sessions, [])

    await sent(sessions, QUEUE)

    told = await story(sessions, message)
    assert told[1] == '"Desk" did not take it: 503 down.'
    assert told[-1] == "It waits to be tried again: 503 down."
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await some(db, "select state from messages") == ["queued"]
