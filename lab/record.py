"""What the lab accepted: in memory, and in a file that outlives the process."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was accepted, kept as it came: reading it again is left to whoever wants to see it."""

    body: bytes
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)  # Those that matter, in lower case.
    short: bool = False  # It is written to the file, too: what is reported later depends on it.


@dataclass(frozen=True, slots=True)
class Accepted:
    """One message that a provider of the lab took over, for one recipient."""

    provider: str
    id: str  # The provider's own.
    own: str | None  # The client's: SES tag mid, SendGrid custom_args campanile_message and so on.
    recipient: str
    at: float  # Unix time, seconds.
    call: Call
    index: int = 0  # Which message of the call.

    def line(self) -> dict[str, Any]:
        return {
            "provider": self.provider, "id": self.id, "own": self.own, "recipient": self.recipient,
            "at": self.at,
        }  # fmt: skip

    def kept(self) -> dict[str, Any]:
        """The line of the file."""
        if not self.call.short:
            return self.line()
        return {**self.line(), "path": self.call.path, "body": self.call.body.decode()}

    @classmethod
    def read(cls, line: bytes) -> Self:
        known = orjson.loads(line)
        call = Call(known.pop("body", "").encode(), known.pop("path", ""))
        return cls(**known, call=call)


Reader = Callable[[Accepted], dict[str, Any]]  # What a recipient would see of a message.


class Record:
    """All that was accepted. With `keep`, each message is a line of JSON in that file before anybody hears of
    it, and what stands there already counts as accepted; one that is `fast` keeps counts alone."""

    def __init__(self, keep: Path | None = None, *, fast: bool = False) -> None:
        self.fast = fast
        self.readers: dict[str, Reader] = {}
        self.listeners: list[Callable[[list[Accepted]], None]] = []
        self.forget()
        if keep and keep.exists() and not fast:
            for line in keep.read_bytes().splitlines():
                self.note(Accepted.read(line))
        self.file = os.open(keep, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if keep else None

    def forget(self) -> None:
        self.all: list[Accepted] = []
        self.by_own: dict[str, list[Accepted]] = {}
        self.by_id: dict[str, Accepted] = {}
        self.by_recipient: dict[str, list[Accepted]] = {}
        self.accepted: Counter[str] = Counter()  # Messages, by provider.
        self.calls: Counter[str] = Counter()  # Requests to send, whatever they were answered, by provider.
        self.offered: Counter[str] = Counter()  # Messages in these.

    def offer(self, provider: str, messages: int) -> None:
        self.calls[provider] += 1
        self.offered[provider] += messages

    def accept(self, provider: str, call: Call, messages: list[tuple[int, str, str | None, str]]) -> None:
        """Take these over: (index, provider's id, client's id, recipient) each."""
        if self.fast and self.file is None and not self.listeners:
            self.accepted[provider] += len(messages)
            return
        now = time.time()
        lines = [Accepted(provider, its, own, to, now, call, at) for at, its, own, to in messages]
        if self.file is not None:
            os.write(self.file, b"".join(orjson.dumps(one.kept()) + b"\n" for one in lines))
        for one in lines:
            self.note(one)
        for listener in self.listeners:
            listener(lines)

    def note(self, one: Accepted) -> None:
        self.accepted[one.provider] += 1
        if self.fast:
            return
        self.all.append(one)
        self.by_id[one.id] = one
        self.by_recipient.setdefault(one.recipient, []).append(one)
        if one.own:
            self.by_own.setdefault(one.own, []).append(one)

    def find(
        self, provider: str | None = None, recipient: str | None = None, own: str | None = None
    ) -> Iterator[Accepted]:
        """What was accepted so far, oldest first, of these if given."""
        if own is not None:
            found = self.by_own.get(own, [])
        elif recipient is not None:
            found = self.by_recipient.get(recipient, [])
        else:
            found = self.all
        for one in found:
            if provider in (None, one.provider) and recipient in (None, one.recipient):
                yield one

    def content(self, one: Accepted) -> dict[str, Any]:
        """What its recipient would see."""
        return self.readers[one.provider](one)

    def counts(self) -> dict[str, dict[str, int]]:
        return {
            "accepted": dict(self.accepted), "calls": dict(self.calls), "offered": dict(self.offered),
        }  # fmt: skip

    def close(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None
