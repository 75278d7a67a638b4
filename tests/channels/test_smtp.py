"""Every row of the table in `channels/smtp_replies.py`, against a server that really does it."""

import asyncio
from dataclasses import replace

import pytest

from channels.contract import OutcomeKind
from channels.smtp_wire import Timeouts
from lab.smtp import EXTENSIONS, Fault, Phase, SmtpLab
from tests.channels.smtp_support import (
    ACCEPTED,
    LARGE,
    REJECTED,
    RETRY,
    UNKNOWN,
    ALetter,
    a_channel,
    a_server_that,
    counts,
    envelope,
    envelopes,
    greet,
    ids,
    kinds,
    the_ids_of,
)

ONE_BY_ONE = tuple(one for one in EXTENSIONS if one != "PIPELINING")

TABLE = [
    # Before any message was named: nothing is about the message.
    (Fault(Phase.GREETING, reply="421 4.3.2 Restarting"), RETRY, "421 4.3.2 Restarting"),
    (Fault(Phase.GREETING, reply="450 4.7.0 Slow down"), RETRY, "450 4.7.0"),
    (Fault(Phase.GREETING, reply="554 5.3.2 Not you"), RETRY, "sender: 554 5.3.2"),
    (Fault(Phase.GREETING, hang=True), RETRY, "does not answer"),
    (Fault(Phase.GREETING, cut=True), RETRY, "it hung up"),
    (Fault(Phase.HELLO, reply="421 4.3.2 Restarting"), RETRY, "421 4.3.2"),
    (Fault(Phase.HELLO, reply="550 5.7.1 Not with this name"), RETRY, "sender: 550 5.7.1"),
    (Fault(Phase.HELLO, hang=True), RETRY, "does not answer"),
    (Fault(Phase.HELLO, cut=True), RETRY, "it hung up"),
    # The envelope.
    (Fault(Phase.MAIL, reply="421 4.7.0 Enough"), RETRY, "421 4.7.0 Enough"),
    (Fault(Phase.MAIL, reply="451 4.3.0 Disk is full"), RETRY, "451 4.3.0 Disk is full"),
    (Fault(Phase.MAIL, reply="530 Log in first"), RETRY, "sender: 530"),
    (Fault(Phase.MAIL, reply="553 5.1.8 Your domain has no address"), RETRY, "sender: 553 5.1.8"),
    (Fault(Phase.MAIL, reply="550 5.7.1 You are blocked"), RETRY, "sender: 550 5.7.1"),
    (Fault(Phase.MAIL, reply="552 5.3.4 Too large"), REJECTED, "552 5.3.4 Too large"),
    (Fault(Phase.MAIL, hang=True), RETRY, "did not answer in time"),
    (Fault(Phase.MAIL, cut=True), RETRY, "cut the connection"),
    (Fault(Phase.RCPT, reply="421 4.7.0 Enough"), RETRY, "421 4.7.0"),
    (Fault(Phase.RCPT, reply="450 4.2.0 Greylisted"), RETRY, "450 4.2.0 Greylisted"),
    (Fault(Phase.RCPT, reply="452 4.2.2 Mailbox is full"), RETRY, "452 4.2.2"),
    (Fault(Phase.RCPT, reply="550 5.1.1 Nobody of that name"), REJECTED, "550 5.1.1 Nobody of that name"),
    (Fault(Phase.RCPT, reply="550 Nobody of that name"), REJECTED, "550 Nobody"),
    (Fault(Phase.RCPT, reply="550 5.7.1 Relaying denied"), RETRY, "sender: 550 5.7.1 Relaying denied"),
    (Fault(Phase.RCPT, hang=True), RETRY, "did not answer in time"),
    (Fault(Phase.RCPT, cut=True), RETRY, "cut the connection"),
    (Fault(Phase.DATA, reply="421 4.7.0 Enough"), RETRY, "421 4.7.0"),
    (Fault(Phase.DATA, reply="451 4.3.0 Not now"), RETRY, "451 4.3.0"),
    (Fault(Phase.DATA, reply="554 5.5.1 No"), REJECTED, "554 5.5.1"),
    (Fault(Phase.DATA, hang=True), RETRY, "did not answer in time"),
    (Fault(Phase.DATA, cut=True), RETRY, "cut the connection"),
    # The final dot is written: only an answer tells.
    (Fault(Phase.CONTENT, cut=True), UNKNOWN, "cut the connection"),
    (Fault(Phase.CONTENT, reply="552 5.3.4 Too large"), REJECTED, "552 5.3.4"),
    (Fault(Phase.DOT, reply="421 4.3.2 Restarting"), RETRY, "421 4.3.2"),
    (Fault(Phase.DOT, reply="451 4.3.0 Disk is full"), RETRY, "451 4.3.0"),
    (Fault(Phase.DOT, reply="554 5.6.0 I don't like it"), REJECTED, "554 5.6.0"),
    (Fault(Phase.DOT, reply="550 5.7.26 Unauthenticated"), RETRY, "sender: 550 5.7.26"),
    (Fault(Phase.DOT, reply="250"), ACCEPTED, None),
    (Fault(Phase.DOT, reply="354 Go on"), UNKNOWN, "354"),
    (Fault(Phase.DOT, reply="hello?"), UNKNOWN, "does not speak SMTP"),
    (Fault(Phase.DOT, cut=True), UNKNOWN, "cut the connection"),
    (Fault(Phase.DOT, cut=True, keep=True), UNKNOWN, "cut the connection"),
    (Fault(Phase.DOT, hang=True, keep=True), UNKNOWN, "did not answer in time"),
]


@pytest.mark.parametrize("extensions", [EXTENSIONS, ONE_BY_ONE], ids=["pipelined", "one by one"])
@pytest.mark.parametrize(
    ("fault", "kind", "reason"), TABLE, ids=[f"{fault.at} {fault.reply or fault.hang}" for fault, *_ in TABLE]
)
async def test_an_outcome_is_what_the_server_made_of_the_message(
    fault: Fault, kind: OutcomeKind, reason: str | None, extensions: tuple[str, ...]
) -> None:
    async with SmtpLab(extensions=extensions) as lab, a_channel(lab) as channel:
        lab.fail(replace(fault))

        [outcome] = await channel.send(ALetter(), envelopes(1))

        assert outcome.kind is kind
        assert (reason in outcome.reason) if reason and outcome.reason else (reason is outcome.reason)
        assert (outcome.retry_after is not None) == (kind is RETRY)
        assert len(lab.accepted) == (1 if fault.keep else 0)


async def test_who_is_to_blame_decides_how_long_we_wait() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        lab.fail(Fault(Phase.RCPT, reply="450 4.2.0 Greylisted", recipient="p1@*"))
        lab.fail(Fault(Phase.RCPT, reply="550 5.7.1 You are blocked", recipient="p2@*"))
        grey, blocked = await channel.send(ALetter(), envelopes(2))
        assert grey.retry_after
        assert blocked.retry_after
        assert grey.retry_after < blocked.retry_after


async def test_a_refused_connection_is_a_retry_for_all() -> None:
    async with SmtpLab() as lab:
        port = lab.port
    async with a_channel(port, connections=4) as channel:
        outcomes = await channel.send(ALetter(), envelopes(100))
        assert counts(outcomes) == {RETRY: 100}
        assert "can't be reached" in (outcomes[0].reason or "")
        assert "can't be reached" in (await channel.check() or "")


async def test_what_is_accepted_carries_the_id_that_the_server_gave() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        lab.fail(Fault(Phase.DOT, reply="250 2.0.0 Ok: queued as 4F2A9C", keep=True, times=1))
        queued, kept = await channel.send(ALetter(), envelopes(2))
        assert (queued.provider_id, kept.provider_id) == ("4F2A9C", "Kept as 2")


async def test_a_cut_within_a_large_content_is_a_retry_because_the_final_dot_never_left() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        lab.fail(Fault(Phase.CONTENT, cut=True, times=1))
        [outcome] = await channel.send(ALetter(body=LARGE), envelopes(1))
        assert outcome.kind is RETRY
        assert lab.accepted == []


async def test_a_server_that_stops_reading_a_large_content_is_a_retry_too() -> None:
    async def stop_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 Fine\r\n250 Fine\r\n354 Go on\r\n")
        await asyncio.sleep(2)

    async with a_server_that(stop_reading) as port, a_channel(port) as channel:
        [outcome] = await channel.send(ALetter(body=LARGE), envelopes(1))
        assert outcome.kind is RETRY
        assert "in time" in (outcome.reason or "")


async def test_a_no_that_comes_while_a_large_content_is_written_is_heard() -> None:
    async def interrupt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 Fine\r\n250 Fine\r\n354 Go on\r\n")
        await reader.readexactly(1000)
        writer.write(b"552 5.3.4 Too large\r\n")
        await asyncio.sleep(1)

    async with a_server_that(interrupt) as port, a_channel(port) as channel:
        [outcome] = await channel.send(ALetter(body=LARGE), envelopes(1))
        assert (outcome.kind, outcome.reason) == (REJECTED, "552 5.3.4 Too large")


# In the middle of a batch: the neighbours' outcomes are as true.


async def test_a_lost_reply_makes_one_message_unknown_and_the_next_a_retry() -> None:
    batch = envelopes(6)
    async with SmtpLab() as lab, a_channel(lab) as channel:
        lab.fail(Fault(Phase.DOT, cut=True, keep=True, after=2, times=1))

        outcomes = await channel.send(ALetter(), batch)

        # With the content of 3 went MAIL, RCPT and DATA of 4; 5 and 6 had a new connection.
        assert kinds(outcomes) == [ACCEPTED, ACCEPTED, UNKNOWN, RETRY, ACCEPTED, ACCEPTED]
        assert ids(lab.accepted) == the_ids_of(batch, outcomes, ACCEPTED, UNKNOWN)
        assert lab.connections == 2


@pytest.mark.parametrize("extensions", [EXTENSIONS, ONE_BY_ONE], ids=["pipelined", "one by one"])
@pytest.mark.parametrize("at", [Phase.RCPT, Phase.DOT])
async def test_a_refusal_hurts_only_its_own_message(at: Phase, extensions: tuple[str, ...]) -> None:
    batch = envelopes(9)
    async with SmtpLab(extensions=extensions) as lab, a_channel(lab) as channel:
        lab.fail(Fault(at, reply="550 5.1.1 Nobody", recipient="p[258]@*"))
        outcomes = await channel.send(ALetter(), batch)
        a, r = ACCEPTED, REJECTED
        assert kinds(outcomes) == [a, r, a, a, r, a, a, r, a]
        assert ids(lab.accepted) == the_ids_of(batch, outcomes, ACCEPTED)
        assert lab.connections == 1


@pytest.mark.parametrize("extensions", [EXTENSIONS, ONE_BY_ONE], ids=["pipelined", "one by one"])
async def test_a_refused_sender_does_not_spoil_the_transaction_of_the_next(
    extensions: tuple[str, ...],
) -> None:
    async with SmtpLab(extensions=extensions) as lab, a_channel(lab) as channel:
        lab.fail(Fault(Phase.MAIL, reply="451 4.3.0 Not now", after=1, times=1))
        assert kinds(await channel.send(ALetter(), envelopes(3))) == [ACCEPTED, RETRY, ACCEPTED]


async def test_a_server_that_goes_on_after_it_refused_the_recipient_gets_a_lone_dot() -> None:
    batch = envelopes(3)
    async with SmtpLab() as lab, a_channel(lab) as channel:
        lab.fail(Fault(Phase.RCPT, reply="550 5.1.1 Nobody", after=1, times=1))
        lab.fail(Fault(Phase.DATA, reply="354 Go on", after=1, times=1))
        outcomes = await channel.send(ALetter(), batch)
        assert kinds(outcomes) == [ACCEPTED, REJECTED, ACCEPTED]
        assert ids(lab.accepted) == the_ids_of(batch, outcomes, ACCEPTED)
        assert lab.connections == 1


async def test_nobody_gets_an_empty_mail_when_only_the_sender_was_refused() -> None:
    after_data = bytearray()

    async def muddle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"451 4.3.0 Not now\r\n250 Fine\r\n354 Go on\r\n")
        after_data.extend(await reader.read())

    async with a_server_that(muddle) as port, a_channel(port) as channel:
        [outcome] = await channel.send(ALetter(), envelopes(1))
        assert (outcome.kind, outcome.reason) == (RETRY, "451 4.3.0 Not now")
        assert after_data == b""


async def test_a_goodbye_after_some_messages_costs_one_retry_and_no_more() -> None:
    batch = envelopes(10)
    async with SmtpLab() as lab, a_channel(lab) as channel:
        lab.fail(Fault(Phase.MAIL, reply="421 4.7.0 Enough for now", after=4, times=1))
        outcomes = await channel.send(ALetter(), batch)
        assert counts(outcomes) == {ACCEPTED: 9, RETRY: 1}
        assert ids(lab.accepted) == the_ids_of(batch, outcomes, ACCEPTED)


async def test_replies_may_be_torn_and_have_many_lines() -> None:
    async def stammer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.readuntil(b"DATA\r\n")
        replies = b"250 Fine\r\n550-5.1.1 Nobody\r\n550 5.1.1 of that name\r\n554 5.5.1 No recipients\r\n"
        for byte in replies:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    async with a_server_that(stammer) as port, a_channel(port) as channel:
        [outcome] = await channel.send(ALetter(), envelopes(1))
        assert (outcome.kind, outcome.reason) == (REJECTED, "550 5.1.1 Nobody of that name")


async def test_a_nul_in_a_reply_is_not_kept() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        lab.fail(Fault(Phase.RCPT, reply="550 5.1.1 No\0body", times=1))
        [outcome] = await channel.send(ALetter(), envelopes(1))
        assert outcome.reason == "550 5.1.1 Nobody"


async def test_a_letter_that_can_not_be_filled_hurts_only_its_own_message() -> None:
    batch = [envelope(1), envelope(2, None, "broken"), envelope(3)]
    async with SmtpLab() as lab, a_channel(lab) as channel:
        outcomes = await channel.send(ALetter(), batch)
        assert kinds(outcomes) == [ACCEPTED, REJECTED, ACCEPTED]
        assert "there is no first name" in (outcomes[1].reason or "")
        assert len(lab.accepted) == 2


async def test_outcomes_keep_the_order_of_the_batch_over_many_connections() -> None:
    batch = envelopes(700)
    async with SmtpLab() as lab, a_channel(lab, connections=8) as channel:
        lab.fail(Fault(Phase.RCPT, reply="550 5.1.1 Nobody", recipient="*7@*"))
        outcomes = await channel.send(ALetter(), batch)
        wanted = [
            REJECTED if one.address.startswith("p") and "7@" in one.address else ACCEPTED for one in batch
        ]
        assert kinds(outcomes) == wanted
        assert ids(lab.accepted) == the_ids_of(batch, outcomes, ACCEPTED)
        assert lab.connections == 8


async def test_many_cuts_at_random_places_leave_every_outcome_true() -> None:
    batch = envelopes(2_000)
    async with SmtpLab() as lab, a_channel(lab, connections=8, timeouts=Timeouts()) as channel:
        lab.fail(Fault(Phase.DOT, cut=True, keep=True, after=50, times=5))
        lab.fail(Fault(Phase.DOT, cut=True, after=300, times=5))
        lab.fail(Fault(Phase.RCPT, cut=True, after=700, times=5))
        lab.fail(Fault(Phase.DATA, reply="421 4.3.2 Restarting", after=1000, times=5))
        outcomes = await channel.send(ALetter(), batch)

        heard = set(ids(lab.accepted))
        assert len(heard) == len(lab.accepted)
        assert set(the_ids_of(batch, outcomes, ACCEPTED)) <= heard
        assert heard <= set(the_ids_of(batch, outcomes, ACCEPTED, UNKNOWN))
        assert counts(outcomes)[UNKNOWN] == 10
        assert 10 <= counts(outcomes)[RETRY] <= 20
