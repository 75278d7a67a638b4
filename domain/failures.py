"""Failures: what did not work, whose matter it is, and how to mend it.

A failure is a row in `failure_logs`, written in the transaction in which it is known. Those of one kind are
told of together, as `job.failed` announcements with a count and a few samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID


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
