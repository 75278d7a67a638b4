"""How connections are kept, lost, refused, encrypted, and given up."""

import asyncio

import pytest

from channels import smtp
from channels.contract import OutcomeKind
from channels.smtp import SmtpProvider
from channels.smtp_wire import Server, Timeouts
from lab.smtp import Fault, Mail, Phase, SmtpLab, SmtpServer
from tests.channels.smtp_support import (
    ACCEPTED,
    REJECTED,
    RETRY,
    UNKNOWN,
    ALetter,
    a_channel,
    a_server_that,
    certified,
    counts,
    envelope,
    envelopes,
    greet,
    kinds,
    saying_after_data,
    spares,
    trusting,
    until,
)


async def test_a_connection_is_kept_between_batches() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        for _ in range(3):
            await channel.send(ALetter(), envelopes(2))
        assert (len(lab.accepted), lab.connections) == (6, 1)


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "not yet noticed"])
async def test_a_server_that_hung_up_between_batches_costs_nothing(noticed: bool) -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        await channel.send(ALetter(), envelopes(1))
        lab.hang_up()
        if noticed:
            await until(lambda: not channel.connections)
        assert kinds(await channel.send(ALetter(), envelopes(3))) == [ACCEPTED] * 3
        assert (len(lab.accepted), lab.connections) == (4, 2)


async def test_a_goodbye_to_an_idle_connection_is_no_answer_to_the_next_message() -> None:
    plays = 0

    async def leave_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal plays
        plays += 1
        await greet(reader, writer)
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 Fine\r\n250 Fine\r\n354 Go on\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 Kept\r\n")
        if plays == 1:
            await reader.readuntil(b"MAIL")
            writer.write(b"421 4.4.2 Timeout exceeded\r\n")
        else:
            await reader.read()

    async with a_server_that(leave_early) as port, a_channel(port) as channel:
        assert kinds(await channel.send(ALetter(), envelopes(1))) == [ACCEPTED]
        assert kinds(await channel.send(ALetter(), envelopes(1))) == [ACCEPTED]
        assert plays == 2


async def test_a_connection_that_died_in_silence_is_replaced_when_it_does_not_answer() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        await channel.send(ALetter(), envelopes(1))
        lab.fail(Fault(Phase.MAIL, hang=True, times=1))
        assert kinds(await channel.send(ALetter(), envelopes(2))) == [ACCEPTED] * 2
        assert lab.connections == 2


async def test_a_connection_that_never_had_work_is_replaced_like_any_other() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        [spare] = await spares(channel, 1)
        spare.work()
        lab.hang_up()
        assert kinds(await channel.send(ALetter(), envelopes(1))) == [ACCEPTED]


async def test_what_waited_to_be_written_with_others_when_the_server_left_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smtp, "TOGETHER", 60)
    patient = Timeouts(command=20, content=20)
    async with SmtpLab() as lab, a_channel(lab, connections=3, timeouts=patient) as channel:
        lab.fail(Fault(Phase.MAIL, hang=True, times=2))
        sending = asyncio.create_task(channel.send(ALetter(), envelopes(30)))
        await until(lambda: bool(channel.holding))
        channel.let_out()  # The envelope. What is held next is the content, with the final dot.
        await until(lambda: any(connection.sent for connection in channel.holding))
        lab.hang_up()
        assert counts(await sending) == {RETRY: 30}
        assert not lab.accepted


async def test_who_works_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "TOGETHER", 60)
    async with SmtpLab() as lab, a_channel(lab, connections=3) as channel:
        await spares(channel, 3)
        assert kinds(await channel.send(ALetter(), envelopes(1))) == [ACCEPTED]
        assert lab.connections == 3


@pytest.mark.parametrize("connections", [1, 3])
async def test_a_yes_that_comes_before_the_content_is_none(connections: int) -> None:
    hasty = saying_after_data(b"250 Fine\r\n250 Fine\r\n354 Go on\r\n250 Kept\r\n")
    async with a_server_that(hasty) as port, a_channel(port, connections=connections) as channel:
        assert {*kinds(await channel.send(ALetter(), envelopes(30)))} <= {UNKNOWN, RETRY}


async def test_a_recipients_no_holds_whatever_else_the_server_says() -> None:
    talkative = saying_after_data(b"250 Fine\r\n550 5.1.1 Nobody\r\n354 Go on\r\n554 5.5.1 No recipients\r\n")
    async with a_server_that(talkative) as port, a_channel(port) as channel:
        [outcome] = await channel.send(ALetter(), envelopes(1))
        assert (outcome.kind, outcome.reason) == (REJECTED, "550 5.1.1 Nobody")


async def test_an_old_server_that_knows_no_ehlo_is_greeted_with_helo() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        lab.fail(Fault(Phase.HELLO, reply="502 5.5.1 What is that?", times=1))
        assert kinds(await channel.send(ALetter(), envelopes(3))) == [ACCEPTED] * 3
        assert not any(connection.pipelining for connection in channel.connections)


async def test_once_a_kept_connection_has_answered_a_cut_is_a_cut() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        await channel.send(ALetter(), envelopes(1))
        lab.fail(Fault(Phase.RCPT, cut=True, times=1))
        assert kinds(await channel.send(ALetter(), envelopes(1))) == [RETRY]


@pytest.mark.parametrize(
    ("at", "timeouts", "kind"),
    [
        (Phase.DOT, Timeouts(content=0.05), UNKNOWN),
        (Phase.RCPT, Timeouts(command=0.05), RETRY),
        (Phase.HELLO, Timeouts(greeting=0.05), RETRY),
    ],
)
async def test_each_phase_has_its_own_patience(at: Phase, timeouts: Timeouts, kind: OutcomeKind) -> None:
    async with SmtpLab() as lab, a_channel(lab, timeouts=timeouts) as channel:
        lab.fail(Fault(at, hang=True))
        async with asyncio.timeout(2):  # The other patiences are ten seconds and more.
            assert kinds(await channel.send(ALetter(), envelopes(1))) == [kind]


async def test_a_server_that_will_not_start_over_is_left() -> None:
    async def sulk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 Fine\r\n550 5.1.1 Nobody\r\n554 5.5.1 No recipients\r\n")
        await reader.readuntil(b"RSET\r\n")
        writer.write(b"502 5.5.1 What is that?\r\n503 5.5.1 Nested\r\n250 Fine\r\n354 Go on\r\n")
        await reader.read()

    async with a_server_that(sulk) as port, a_channel(port) as channel:
        outcomes = await channel.send(ALetter(), envelopes(2))
        assert kinds(outcomes) == [REJECTED, RETRY]
        assert "will not start over" in (outcomes[1].reason or "")


async def test_an_idle_connection_is_closed_after_a_while() -> None:
    async with SmtpLab() as lab, a_channel(lab, timeouts=Timeouts(idle=0.05)) as channel:
        await channel.send(ALetter(), envelopes(1))
        await until(lambda: not channel.connections and not lab.talks)
        assert kinds(await channel.send(ALetter(), envelopes(1))) == [ACCEPTED]


async def test_a_server_that_takes_only_a_few_connections_gets_the_batch_over_these() -> None:
    async with SmtpLab() as lab, a_channel(lab, connections=8) as channel:
        lab.fail(Fault(Phase.GREETING, reply="421 4.7.0 Too many connections", after=2))
        for _ in range(3):
            assert counts(await channel.send(ALetter(), envelopes(500))) == {ACCEPTED: 500}
        assert lab.connections == 8, "and is not asked for more at once"


async def test_a_server_that_is_back_is_used_again() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        lab.fail(Fault(Phase.GREETING, reply="421 4.3.2 Restarting", times=1))
        assert kinds(await channel.send(ALetter(), envelopes(2))) == [RETRY] * 2
        assert kinds(await channel.send(ALetter(), envelopes(2))) == [ACCEPTED] * 2


async def test_two_batches_share_one_connection_in_turns() -> None:
    order: list[str] = []

    async def note(mail: Mail) -> str:
        order.append(mail.recipients[0][0])
        return "250 2.0.0 Kept"

    async with SmtpServer(note) as server, a_channel(server) as channel:
        await channel.send(ALetter(), [envelope(0)])
        order.clear()
        large = [envelope(n, f"l{n}@example.test") for n in range(200)]
        small = [envelope(n, f"s{n}@example.test") for n in range(5)]
        outcomes = await asyncio.gather(channel.send(ALetter(), large), channel.send(ALetter(), small))
        assert [counts(one) for one in outcomes] == [{ACCEPTED: 200}, {ACCEPTED: 5}]
        assert "".join(order).rindex("s") < 20


async def test_a_cancelled_send_leaves_no_connection_in_the_middle_of_a_message() -> None:
    async with SmtpLab() as lab, a_channel(lab, timeouts=Timeouts()) as channel:
        lab.fail(Fault(Phase.DOT, hang=True, keep=True, after=1, times=1))
        sending = asyncio.create_task(channel.send(ALetter(), envelopes(5)))
        await until(lambda: len(lab.accepted) == 2)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await until(lambda: not channel.connections and not lab.talks)
        assert len(lab.accepted) == 2
        assert kinds(await channel.send(ALetter(), envelopes(1))) == [ACCEPTED]
        assert len(lab.accepted) == 3


async def test_a_cancelled_send_does_not_cost_another_batch_its_answer() -> None:
    go_on, arrived, kept = asyncio.Event(), asyncio.Event(), []

    async def slowly(mail: Mail) -> str:
        kept.append(mail.recipients[0])
        arrived.set()
        await go_on.wait()
        return "250 2.0.0 Kept"

    async with SmtpServer(slowly) as server, a_channel(server, timeouts=Timeouts()) as channel:
        ours = asyncio.create_task(channel.send(ALetter(), [envelope(1, "ours@example.test")]))
        theirs = asyncio.create_task(channel.send(ALetter(), [envelope(2, "theirs@example.test")]))
        await arrived.wait()  # The envelope of theirs went out with the content of ours.
        theirs.cancel()
        await asyncio.gather(theirs, return_exceptions=True)
        go_on.set()
        assert kinds(await ours) == [ACCEPTED]
        assert kinds(await channel.send(ALetter(), [envelope(3)])) == [ACCEPTED]
        assert kept == ["ours@example.test", "p3@example.test"]


async def test_a_cancelled_send_is_over_even_if_its_connection_was_dead() -> None:
    async with SmtpLab() as lab, a_channel(lab, timeouts=Timeouts()) as channel:
        await channel.send(ALetter(), envelopes(1))
        lab.fail(Fault(Phase.MAIL, hang=True, times=1))
        sending = asyncio.create_task(channel.send(ALetter(), envelopes(5)))
        await until(lambda: not any(fault.times for fault in lab.orders.pending))
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert not channel.waiting
        assert not channel.opening
        assert len(lab.accepted) == 1


async def test_closing_says_goodbye_and_tells_what_was_cut() -> None:
    async with SmtpLab() as lab, a_channel(lab, timeouts=Timeouts()) as channel:
        lab.fail(Fault(Phase.DOT, hang=True, keep=True, after=1))
        sending = asyncio.create_task(channel.send(ALetter(), envelopes(4)))
        await until(lambda: len(lab.accepted) == 2)
        await channel.close()
        assert kinds(await sending) == [ACCEPTED, UNKNOWN, RETRY, RETRY]
        assert kinds(await channel.send(ALetter(), envelopes(1))) == [RETRY]
        await until(lambda: not lab.talks)


# Login and encryption.

LOGIN = "anna%40shop.example:p%C3%A4ss%2Fword@"
CREDENTIALS = {"anna@shop.example": "päss/word"}


@pytest.mark.parametrize("mechanisms", ["PLAIN LOGIN", "LOGIN"])
async def test_it_logs_in_with_what_the_url_says(mechanisms: str) -> None:
    lab = SmtpLab(credentials=CREDENTIALS, mechanisms=mechanisms)
    async with lab, a_channel(lab, login=LOGIN) as channel:
        assert kinds(await channel.send(ALetter(), envelopes(2))) == [ACCEPTED] * 2
        assert await channel.check() is None


@pytest.mark.parametrize(
    ("login", "mechanisms", "reason"),
    [
        ("anna%40shop.example:wrong@", "PLAIN LOGIN", "sender: 535 5.7.8"),
        ("anna%40shop.example:wrong@", "LOGIN", "sender: 535 5.7.8"),
        (LOGIN, "GSSAPI", "neither AUTH PLAIN nor AUTH LOGIN"),
        ("", "PLAIN", "sender: 530 5.7.0"),
    ],
)
async def test_a_login_that_fails_is_our_fault_and_no_contacts(
    login: str, mechanisms: str, reason: str
) -> None:
    lab = SmtpLab(credentials=CREDENTIALS, mechanisms=mechanisms)
    async with lab, a_channel(lab, login=login) as channel:
        outcomes = await channel.send(ALetter(), envelopes(2))
        assert kinds(outcomes) == [RETRY] * 2
        assert reason in (outcomes[0].reason or "")
        assert lab.accepted == []


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_it_speaks_tls(scheme: str) -> None:
    implicit = scheme == "smtps"
    async with SmtpLab(credentials=CREDENTIALS, tls=certified(), implicit_tls=implicit) as lab:
        async with a_channel(lab, scheme=scheme, login=LOGIN, tls=trusting(), connections=2) as channel:
            assert counts(await channel.send(ALetter(), envelopes(100))) == {ACCEPTED: 100}
            large = ALetter(body=b"a large letter\r\n" * 100_000)
            assert counts(await channel.send(large, envelopes(2))) == {ACCEPTED: 2}
        assert {one.size for one in lab.accepted[-2:]} == {len(large.fill(envelope(1)))}


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_a_server_with_a_strangers_certificate_gets_neither_password_nor_mail(scheme: str) -> None:
    lab = SmtpLab(credentials=CREDENTIALS, tls=certified(), implicit_tls=scheme == "smtps")
    async with lab, a_channel(lab, scheme=scheme, login=LOGIN) as channel:
        [outcome] = await channel.send(ALetter(), envelopes(1))
        assert outcome.kind is RETRY
        assert (outcome.reason or "").startswith("sender: TLS with")
        assert lab.accepted == []


async def test_where_starttls_is_asked_for_nothing_is_said_in_the_clear() -> None:
    async with SmtpLab() as lab, a_channel(lab, scheme="smtp+starttls", tls=trusting()) as channel:
        [outcome] = await channel.send(ALetter(), envelopes(1))
        assert outcome.kind is RETRY
        assert "does not offer STARTTLS" in (outcome.reason or "")


async def test_a_server_whose_name_is_none_is_a_retry() -> None:
    channel = SmtpProvider("smtp://mail..example")
    async with asyncio.timeout(5):
        [outcome] = await channel.send(ALetter(), envelopes(1))
    assert outcome.kind == RETRY


async def test_a_server_that_breaks_off_with_its_last_word_of_the_handshake_is_a_retry() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 Hello\r\n")
        await reader.readuntil(b"\r\n")
        writer.write(b"250 Nice to meet you\r\nand no more SMTP from here on\r\n")
        await reader.read()

    async with a_server_that(babble) as port, a_channel(port) as channel, asyncio.timeout(5):
        [outcome] = await channel.send(ALetter(), envelopes(1))
        assert outcome.kind == RETRY


async def test_words_that_someone_put_before_the_handshake_are_not_believed() -> None:
    async def inject(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 script\r\n")
        await reader.readuntil(b"\r\n")
        writer.write(b"250-script\r\n250 STARTTLS\r\n")
        await reader.readuntil(b"\r\n")
        writer.write(b"220 Go ahead\r\n250-script\r\n250 AUTH PLAIN")
        await reader.read()

    async with (
        a_server_that(inject) as port,
        a_channel(port, scheme="smtp+starttls", tls=trusting()) as channel,
    ):
        [outcome] = await channel.send(ALetter(), envelopes(1))
        assert outcome.kind is RETRY
        assert "more than it should" in (outcome.reason or "")


@pytest.mark.parametrize("url", ["http://mail.example", "smtp://", "mail.example:25"])
def test_a_url_that_names_no_smtp_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="smtp://"):
        SmtpProvider(url)


def test_each_way_of_encryption_has_its_port() -> None:
    ports = [Server.of(f"{scheme}://mail.example").port for scheme in ("smtp", "smtp+starttls", "smtps")]
    assert ports == [25, 587, 465]
    assert Server.of("smtps://mail.example:2465").port == 2465


@pytest.mark.parametrize("piece", [b"a" * 65_536, b"2" * 65_536, b"220-Hello\r\n" * 6_000])
@pytest.mark.parametrize("greeted", [False, True])
async def test_a_server_that_never_ends_its_reply_is_left_at_once(piece: bytes, greeted: bool) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if greeted:
            await greet(reader, writer)
            await reader.readuntil(b"DATA\r\n")
        while True:
            writer.write(piece)
            await writer.drain()

    patient = Timeouts(connect=5.0, greeting=20.0, command=20.0)
    async with a_server_that(flood) as port, a_channel(port, timeouts=patient) as channel:
        async with asyncio.timeout(5):
            [outcome] = await channel.send(ALetter(), envelopes(1))

    assert outcome.kind is RETRY
    assert len(outcome.reason or "") < 300
