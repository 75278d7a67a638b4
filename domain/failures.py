"""Failures: what did not work, whose matter it is, and how to mend it.

A failure is a row in `failure_logs`, written in the transaction in which it is known. Those of one kind are
told of together, as `job.failed` announcements with a count and a few samples.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from domain.redacting import without_addresses, without_credentials


class Category(StrEnum):
    """Whose matter it is."""

    ADDRESS = "address"  # There is nobody there, or they want nothing.
    CONTENT = "content"  # What was to be sent is refused or can't be made.
    CONFIGURATION = "configuration"  # A credential, a sender, a route, an address of a webhook.
    PROVIDER = "provider"  # They are down, slow, or don't answer.
    LIMIT = "limit"  # Too much, too often.
    OURS = "ours"  # A fault of Campanile.


class Subject(StrEnum):
    """What failed."""

    MESSAGE = "message"
    SLICE = "slice"  # An activity of a workflow, that is tried again.
    WORKFLOW = "workflow"
    PROVIDER = "provider"
    WEBHOOK = "webhook"  # A delivery that was given up.
    IMPORT = "import"
    OUTSIDE = "outside"  # Somebody else's job that was noted here by API, such as a workflow of n8n.


@dataclass(frozen=True)
class Failure:
    """One failure. The same `subject` and `subject_id` with the same `occasion` is noted once."""

    subject: Subject
    subject_id: str
    category: Category
    reason: str  # A sentence, without addresses of people and secrets.
    remedy: str  # What to do about it, a sentence.
    retryable: bool = False
    occasion: str = ""  # Tells two failures of one thing apart: the attempt, the run, the day.
    source_kind: str | None = None  # campaign, flow, outbox: whose message it was.
    source_id: UUID | None = None
    provider_id: UUID | None = None
    detail: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    title: str | None = None  # What failed, where its subject does not say it.
    quiet: bool = False  # No digest tells of it: what tells of failures must not tell of itself.

    @property
    def kind(self) -> str:
        """What failures have in common that are told of together."""
        # Every receiver has words of its own for an address that it does not know.
        what = "" if self.category is Category.ADDRESS else gist(self.reason)
        return kind_of(self.subject, self.category, self.source_id, self.provider_id, what, self.title)


def kind_of(*parts: object) -> str:
    return hashlib.md5("|".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


LONGEST_REASON = 500  # Characters.

_QUOTED = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|`[^`\n]*`")
_WORD_WITH_DIGITS = re.compile(r"(?<!\S)\S*[0-9]\S*")  # Only from where a word begins: once through each.


def discreet(words: str) -> str:
    """The words without addresses of people and without what looks like a credential, and not too long."""
    words = without_addresses(without_credentials(words))
    return words if len(words) <= LONGEST_REASON else words[: LONGEST_REASON - 1] + "…"


def gist(reason: str) -> str:
    """What reasons have in common that differ only in names, numbers and ids."""
    return " ".join(_WORD_WITH_DIGITS.sub("#", _QUOTED.sub("…", reason)).lower().split())[:80]
