"""What is to go wrong in a conversation with the lab, and when."""

import json
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Self


class Phase(StrEnum):
    """Where in the conversation a fault strikes, in the order of the conversation."""

    GREETING = "greeting"
    HELLO = "hello"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"  # The first bytes of the content have come; the mail is never kept.
    DOT = "dot"  # The final dot has come.


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong. Without a reply, a hang or a cut it lets the phase pass, and counts."""

    at: Phase
    reply: str | None = None  # The line to answer instead of the usual one. After a 421 we hang up.
    hang: bool = False  # Say nothing more, and keep the connection open.
    cut: bool = False  # Hang up without an answer.
    keep: bool = False  # At the final dot: the mail is accepted, whatever the client gets to hear.
    recipient: str = "*"  # At RCPT and DOT: only for addresses that match this (`fnmatch`).
    after: int = 0  # How often the phase passes before the fault begins.
    times: int | None = None  # How often it strikes; None is always.

    @classmethod
    def of(cls, text: str | bytes) -> Self:
        """From a JSON object of these fields. Raises ValueError or TypeError for what is no fault."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "at": Phase(fields.get("at", ""))})


class Faults:
    """What is to go wrong, first come, first served."""

    def __init__(self) -> None:
        self.pending: list[Fault] = []

    def strike(self, phase: Phase, recipients: tuple[str, ...] = ()) -> Fault | None:
        """The fault that strikes now, if any; it is counted down."""
        for fault in self.pending:
            if fault.at is not phase or fault.times == 0:
                continue
            if recipients and not any(fnmatchcase(one, fault.recipient) for one in recipients):
                continue
            if fault.after:
                fault.after -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
            return fault
        return None
