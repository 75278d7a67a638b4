"""An email in parts, for providers that put it together themselves: of one message, or of many at once.

Of many, what all have in common is said once, with a tag wherever they differ. A tag stands for a hole as it
is written in one place, since a name is escaped in the HTML and not in the text; for the message's token in
its links; and for its id. Who replaces all tags, in one pass, has what `EmailLetter.parts` gives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from channels.contract import Envelope
from channels.letters import Bulk, Parts
from domain.skeletons import Skeleton, Slot, as_is, filled
from domain.templates import Compiled, show, subject_line, written

TOKEN, ID, SUBJECT = 0, 1, 2  # These tags are always the same.

Write = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Around:
    """What a letter says beside its content. Nothing in it can end a header's line."""

    from_name: str
    from_email: str
    reply_to: str | None
    headers: tuple[tuple[str, str], ...]  # Those that are the same for all.
    unsubscribe: str | None  # What a link to unsubscribe begins with, up to the token.

    def parts(
        self, subject: str, html: str, text: str, token: str, message: str, feedback_id: str | None
    ) -> Parts:
        domain = self.from_email.rpartition("@")[2]
        headers = [
            ("Message-ID", f"<{message}@{domain}>"),
            ("X-Campanile-Message", message),
            *self.headers,
        ]
        if self.unsubscribe is not None:
            headers.append(("List-Unsubscribe", f"<{self.unsubscribe}{token}>"))
        if feedback_id:
            headers.append(("Feedback-ID", feedback_id))
        return Parts(self.from_name, self.from_email, self.reply_to, subject, html, text, headers)


def parts_of(
    around: Around, compiled: Compiled, token: str, envelope: Envelope, feedback_id: str | None
) -> Parts:
    """One message's."""
    subject, html, text = show(compiled, envelope.holes, token, tracked=envelope.tracked)
    return around.parts(subject, html, text, token, str(envelope.id), feedback_id)


def bulk_of(
    around: Around,
    compiled: Compiled,
    sign: Callable[[UUID], str],
    tracked: bool,
    tag: Callable[[int], str],
    feedback_id: str | None,
) -> Bulk:
    """All messages' that are tracked, or are not; `sign` gives the token of a message's id.

    A subject that differs is one tag as a whole: where its spaces end depends on all of its values.
    """
    subject_differs = any(not isinstance(piece, str) for piece in compiled.subject)
    # Where the token or numbered links are put into values, the HTML's are not the text's.
    alike = not compiled.telling and not (tracked and compiled.linking)
    tags = _Tags(tag)
    text = tags.put(compiled.text, markup=False)
    html = tags.put(compiled.tracked_html if tracked else compiled.html, markup=not alike)
    parts = around.parts(
        tag(SUBJECT) if subject_differs else subject_line(filled(compiled.subject, (), "")),
        html,
        text,
        tag(TOKEN),
        tag(ID),
        feedback_id,
    )
    in_text, in_html = tags.slots(markup=False), tags.slots(markup=True)
    token_tag, id_tag, subject_tag = tag(TOKEN), tag(ID), tag(SUBJECT)

    def values(envelope: Envelope) -> dict[str, str]:
        token = sign(envelope.id)
        plain = written(compiled, envelope.holes, token, tracked=False)
        said = {token_tag: token, id_tag: str(envelope.id)}
        if subject_differs:
            said[subject_tag] = subject_line(filled(compiled.subject, plain, token))
        _fill(said, in_text, plain)
        if in_html:
            _fill(said, in_html, written(compiled, envelope.holes, token, tracked))
        return said

    return Bulk(parts, values)


_Slots = list[tuple[str, int, Write]]


def _fill(said: dict[str, str], slots: _Slots, values: Sequence[str]) -> None:
    for tag, hole, write in slots:
        said[tag] = values[hole] if write is as_is else write(values[hole])


class _Tags:
    """Which tag stands for which hole, by how it is written and by whose values, the text's or the HTML's."""

    def __init__(self, tag: Callable[[int], str]) -> None:
        self._tag = tag
        self._known: dict[tuple[int, Write, bool], str] = {}

    def put(self, skeleton: Skeleton, *, markup: bool) -> str:
        said = []
        for piece in skeleton:
            if isinstance(piece, str):
                said.append(piece)
            elif isinstance(piece, Slot):
                new = self._tag(SUBJECT + 1 + len(self._known))
                said.append(self._known.setdefault((piece.hole, piece.write, markup), new))
            else:
                said.append(self._tag(TOKEN))
        return "".join(said)

    def slots(self, *, markup: bool) -> _Slots:
        return [(tag, hole, write) for (hole, write, html), tag in self._known.items() if html == markup]
