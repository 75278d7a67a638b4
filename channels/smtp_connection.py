"""One kept SMTP connection: a small machine of callbacks that moves one message a round trip.

With PIPELINING (RFC 2920 §3.1) a group is the content of one message followed by MAIL, RCPT and DATA of
the next, in one write:

    ──► content of 1 · MAIL 2 · RCPT 2 · DATA 2
    ◄── 250 (1 is accepted) · 250 · 250 · 354
    ──► content of 2 · MAIL 3 …

So at any moment at most one message is *sent* (its final dot may have arrived: a cut makes it unknown)
and one is *opened* (only its envelope was written: a cut makes it a retry). Everything else follows.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Protocol

from channels.contract import Outcome
from channels.smtp_replies import Reply, accepted, not_sent, refused, unknown
from channels.smtp_wire import Server, Timeouts, Wire

AT_ONCE = 1 << 16  # Bytes of content in one write. Only when the last is written may it be accepted.


class Work(Protocol):
    """One message on its way through a connection."""

    commands: bytes  # MAIL, RCPT and DATA, a line each.
    content: bytes  # Dot-stuffed, with the final dot.

    @property
    def wanted(self) -> bool:
        """Whether its content may still be written: not when its sender was cancelled."""
        ...

    def settle(self, outcome: Outcome) -> None: ...

    def give_back(self) -> None:
        """Nothing of it reached anyone: let another connection have it."""
        ...


class Desk(Protocol):
    """Where a connection gets its work, and says that it is gone."""

    def take(self, extensions: dict[str, str]) -> Work | None: ...

    def hold(self, connection: "Connection") -> None:
        """It has something to write, and is told soon to `let_out` what it holds."""
        ...

    def lost(self, connection: "Connection", outcome: Outcome, replace: bool) -> None:
        """`replace` says that another connection is worth a try, because this one had been of use."""
        ...


Answer = Callable[[bytes], None]  # What to do with the reply that is awaited.

NOT_NOW = b"421"  # "Closing the transmission channel", whatever was asked (RFC 5321 §3.8).
YES = b"2"[0]


class Connection(Wire):
    """After `open`, `work` takes messages from the desk until it has none; later it may be called again."""

    def __init__(self, desk: Desk, server: Server, timeouts: Timeouts) -> None:
        super().__init__(server, timeouts)
        self.desk = desk
        self.pipelining = False
        self.productive = False  # It has answered for a message, so it is a mail server in working order.
        self.rested = False
        self.stale = False  # Taken up after a rest and silent since: the server may have left long ago.

        self.sent: Work | None = None  # While it is set, the first reply awaited is its own.
        self.opened: Work | None = None
        self.poured = 0  # Bytes of the opened message's content that are written, when it is large.
        self.held = b""  # What is to be written next. Meanwhile no answer is due.
        self.answers: tuple[Answer, ...] = (self.mail_answered, self.rcpt_answered, self.data_answered)
        self.awaited: deque[Answer] = deque()
        self.unwritten: deque[tuple[Answer, bytes]] = deque()  # Without PIPELINING: one command at a time.
        self.refusal: Reply | None = None  # The first no to the opened message.
        self.recipient_taken = False
        self.must_reset = False

        self.last_yes = b""
        self.last_accepted = accepted(Reply(250, ""))
        self.deadline = self.rings_at = 0.0  # On the loop's clock.
        self.alarm: asyncio.TimerHandle | None = None

    async def open(self, tls: ssl.SSLContext) -> None:
        """Raises Unreachable. Cancelled or not, what failed leaves no connection behind."""
        try:
            await self.shake_hands(tls)
        except BaseException:
            self.over = True
            if self.transport:
                self.transport.abort()
            raise
        self.pipelining = "PIPELINING" in self.extensions
        self.due_in(self.timeouts.idle)

    @property
    def idle(self) -> bool:
        return not self.over and self.sent is None and self.opened is None

    def work(self) -> None:
        """Take up work, from idleness."""
        self.stale, self.rested = self.rested, False
        self.write(self.begin())

    def quit(self) -> None:
        """Leave as one should. Only from idleness: whoever is in the middle calls `cut`."""
        self.over = True
        self.stop_the_alarm()
        assert self.transport
        self.transport.write(b"QUIT\r\n")
        self.transport.close()

    # Writing.

    def write(self, data: bytes) -> None:
        if data:
            self.held = data
            self.desk.hold(self)
        if self.sent:
            self.due_in(self.timeouts.content)
        elif self.awaited:
            self.due_in(self.timeouts.command)
        else:
            self.rested = True
            self.due_in(self.timeouts.idle)

    def let_out(self) -> None:
        """Write what is held."""
        data, self.held = self.held, b""
        if data and self.transport:
            self.wrote = True
            self.transport.write(data)

    def begin(self) -> bytes:
        """Open the next message, if there is one: gives what to write for it."""
        work = self.opened = self.desk.take(self.extensions)
        if work is None:
            return b""
        self.poured = 0
        self.recipient_taken = False
        answers, commands = self.answers, work.commands
        if self.must_reset:
            self.must_reset = False
            answers, commands = (self.reset_answered, *answers), b"RSET\r\n" + commands
        if self.pipelining:
            self.awaited.extend(answers)
            return commands
        self.unwritten.extend(zip(answers, commands.splitlines(keepends=True), strict=True))
        return self.next_command()

    def next_command(self) -> bytes:
        answer, command = self.unwritten.popleft()
        self.awaited.append(answer)
        return command

    def pour(self) -> None:
        """Write the opened message's content. A large one goes in pieces, each when the last has left, so
        that a cut in the middle is known to be one."""
        work = self.opened
        assert work
        assert self.transport
        while len(work.content) - self.poured > AT_ONCE:
            if self.clogged:
                return
            self.transport.write(work.content[self.poured : self.poured + AT_ONCE])
            self.poured += AT_ONCE
            self.due_in(self.timeouts.command)
        if self.clogged:
            return
        self.sent, self.opened = work, None
        self.awaited.append(self.dot_answered)
        begun = self.poured > 0
        rest = work.content[self.poured :] if begun else work.content
        self.write(rest + self.begin() if self.pipelining else rest)
        if begun:  # The server has most of it, and may answer at any moment.
            self.let_out()

    def flowing(self) -> None:
        if self.opened and not self.awaited and not self.over:
            self.pour()

    # Hearing.

    def heard(self, line: bytes) -> None:
        if line.startswith(NOT_NOW):
            self.leave(self.reply(line))
            return
        if self.held or self.wrote:
            self.heard_early(self.reply(line))
            return
        if not self.awaited:
            self.heard_unasked(self.reply(line))
            return
        self.stale = False
        self.awaited.popleft()(line)

    def reply(self, line: bytes) -> Reply:
        return Reply.of([*self.earlier, line])

    def heard_early(self, reply: Reply) -> None:
        """It came with an answer that we acted upon, so it answers nothing that we wrote or hold since. What
        was said before that holds."""
        if self.opened and self.refusal and not self.recipient_taken:
            self.opened.settle(refused(self.refusal))
            self.opened = None
        self.cut(f"{self.server} said out of turn: {reply}")

    def heard_unasked(self, reply: Reply) -> None:
        """While we pour, it is a no that could not wait; while we rest, the server is on its way out."""
        if self.opened and reply.code >= 400:
            self.opened.settle(refused(reply))
            self.opened = None
        self.cut(f"{self.server} said out of turn: {reply}")

    def dot_answered(self, line: bytes) -> None:
        work, self.sent = self.sent, None
        assert work
        self.productive = True
        if line[0] == YES:
            if line != self.last_yes or self.earlier:
                self.last_yes, self.last_accepted = line, accepted(self.reply(line))
            work.settle(self.last_accepted)
        elif line[0] in b"45":
            work.settle(refused(self.reply(line)))
        else:
            work.settle(unknown(f"{self.server} answered the message with: {self.reply(line)}"))
        self.write(b"" if self.awaited else self.begin())

    def reset_answered(self, line: bytes) -> None:
        if line[0] != YES:
            self.cut(f"{self.server} will not start over: {self.reply(line)}")
        elif not self.pipelining:
            self.write(self.next_command())

    def mail_answered(self, line: bytes) -> None:
        if line[0] != YES:
            self.refusal = self.reply(line)
        if not self.pipelining:
            self.go_on()

    def rcpt_answered(self, line: bytes) -> None:
        self.recipient_taken = line[0] == YES
        if not self.recipient_taken and self.refusal is None:
            self.refusal = self.reply(line)
        if not self.pipelining:
            self.go_on()

    def go_on(self) -> None:
        """Without PIPELINING, a no saves us the rest."""
        if self.refusal:
            self.unwritten.clear()
            self.refuse()
        else:
            self.write(self.next_command())

    def data_answered(self, line: bytes) -> None:
        """RFC 2920 §3.1: a server may answer 354 although it refused the recipient. Then a lone dot ends
        it; but never where the recipient was taken, because he would get an empty mail."""
        if not line.startswith(b"354"):
            self.refusal = self.refusal or self.reply(line)
            self.refuse()
        elif self.opened and not self.opened.wanted:
            self.cut("The sending was given up.")
        elif self.refusal is None:
            self.pour()
        elif self.recipient_taken:
            self.leave(self.refusal)
        else:
            self.awaited.append(self.lone_dot_answered)
            self.write(b".\r\n")

    def lone_dot_answered(self, line: bytes) -> None:
        """Whatever it is: the message was refused before."""
        self.refuse()

    def refuse(self) -> None:
        work, refusal = self.opened, self.refusal
        assert work
        assert refusal
        self.opened = self.refusal = None
        self.productive = self.must_reset = True
        work.settle(refused(refusal))
        self.write(self.begin())

    # The end.

    def leave(self, reply: Reply) -> None:
        """Hang up because of this answer, which is about the message at hand."""
        if self.sent:
            self.sent.settle(refused(reply))
            self.sent = None
        elif self.opened and not self.stale:
            self.opened.settle(refused(reply))
            self.opened = None
        self.cut(str(reply), refused(reply))

    def cut(self, reason: str, outcome: Outcome | None = None) -> None:
        """Hang up, and say what is known of the messages at hand. `outcome` is for those still waiting."""
        if self.over:
            return
        self.over = True
        self.stop_the_alarm()
        assert self.transport
        self.transport.abort()
        if self.sent:
            known = not_sent(reason) if self.held else unknown(f"No answer to the message: {reason}")
            self.sent.settle(known)
        if self.opened and self.stale:
            self.opened.give_back()
        elif self.opened:
            self.opened.settle(not_sent(reason))
        replace = self.productive or self.stale
        self.sent = self.opened = None
        self.held = b""
        self.desk.lost(self, outcome or not_sent(reason), replace)

    def due_in(self, seconds: float) -> None:
        """Move the deadline. The alarm is set anew only when it would ring too late, which is rare."""
        self.deadline = self.loop.time() + seconds
        if self.alarm is None or self.deadline < self.rings_at:
            self.stop_the_alarm()
            self.rings_at = self.deadline
            self.alarm = self.loop.call_at(self.deadline, self.ring)

    def ring(self) -> None:
        self.alarm = None
        if self.loop.time() < self.deadline:
            self.rings_at = self.deadline
            self.alarm = self.loop.call_at(self.deadline, self.ring)
        elif self.idle:
            self.quit()
            self.desk.lost(self, not_sent("It was idle."), replace=False)
        else:
            self.cut(f"{self.server} did not answer in time")

    def stop_the_alarm(self) -> None:
        if self.alarm:
            self.alarm.cancel()
            self.alarm = None
