"""When marketing on a channel is held, because it does harm: the limits, as data.

Mailbox providers turn senders away above 0.3 % complaints (support.google.com/a/answer/81126), and a list
with one dead address in twenty was not collected from people who wanted it.
"""

from dataclasses import dataclass
from datetime import timedelta

from domain.reports import Counts

OVER = timedelta(days=7)


@dataclass(frozen=True)
class Limit:
    """More than `share` of `of`, where there are `at_least` so many of them among `among` at least."""

    what: str  # A field of `Counts`.
    share: float
    at_least: int
    among: int
    words: str


LIMITS = (
    Limit("complained", 0.003, 5, 0, "complaints"),
    Limit("hard", 0.05, 50, 1_000, "hard bounces"),
)


def too_much(counts: Counts) -> str | None:
    """Why marketing must be held after such days, in a sentence, or None when all is well."""
    sent = counts.delivered + counts.hard + counts.soft + counts.failed
    for limit in LIMITS:
        n: int = getattr(counts, limit.what)
        of = counts.delivered if limit.what == "complained" else sent
        if n >= limit.at_least and of >= limit.among and n > limit.share * of:
            share = f"{100 * n / of:.2f} %" if of else "all"
            return (
                f"There were {n:,} {limit.words} about {of:,} messages in {OVER.days} days: {share}, and the "
                f"limit is {100 * limit.share:g} %."
            )
    return None
