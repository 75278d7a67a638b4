"""An email on the wire: a skeleton of bytes that is built once per letter, and holes that are encoded on
their own, so that a message costs a few microseconds and not a millisecond.

Bodies are quoted-printable UTF-8 (RFC 2045, section 6.7). What the template says to everyone is encoded
once; every hole begins on a line of its own after a soft line break and ends with one, so it can be
encoded knowing nothing of what surrounds it. No line of a message begins with a dot.
"""

import binascii
import copy
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from uuid import UUID

from channels.contract import Envelope
from channels.letters import Bulk, Parts, Signs
from channels.mime_attached import attached
from channels.mime_bulk import Around, bulk_of, parts_of
from domain.skeletons import Skeleton, Slot, as_is, escaped, filled
from domain.templates import Compiled, subject_line, written
from domain.tokens import Tokens

_SOFT = b"=\r\n"
_BOUNDARY = b"=_campanile_alternative"  # "=_" can't occur in quoted-printable: no body contains it.
_CODE = {bytes([byte]): b"=%02X" % byte for byte in range(256)}
_TO_ENCODE = re.compile(rb"[^ -<>-~\t]")
_BEGINS_BADLY = re.compile(rb"\.|From ")  # Taken for SMTP's end, and for an mbox's next message.
# Text that is encoded already: one short line of plain characters that begins well.
_PLAIN = re.compile(r"(?!\.|From )[ -<>-~]{0,75}").fullmatch
_PLAIN_IN_HTML = re.compile(r"""(?!\.|From )[ !#-%(-;?-~]{0,75}""").fullmatch
_PLAIN_SUBJECT = re.compile(r"(?!.*=\?)[ -~]{0,67}").fullmatch
_PLAIN_PHRASE = re.compile(r"[A-Za-z0-9 !#$%&'*+/=?^_`{|}~-]{1,60}").fullmatch
_PLAIN_ADDRESS = re.compile(r"[!-+\--:=?-~]*").fullmatch
_UNSAFE = re.compile("[\x00-\x20\x7f-\xa0\u2028\u2029<>,;]+")


def quoted(text: str) -> bytes:
    """`text` in quoted-printable UTF-8, to stand where a line begins and to be followed by a soft break.

    Line breaks (LF or CRLF) become CRLF; every line has at most 76 characters with its soft break.
    """
    if _PLAIN(text):
        return text.encode("ascii")
    raw = text.replace("\r\n", "\n").encode("utf-8", "replace")
    lines = [_line(line) for line in raw.split(b"\n")]
    # White space before a hard break would be lost; before the soft break that follows us it is not.
    lines[:-1] = [
        line[:-1] + _CODE[line[-1:]] if line.endswith((b" ", b"\t")) else line for line in lines[:-1]
    ]
    return b"\r\n".join([_folded(line) for line in lines])


def _line(raw: bytes) -> bytes:
    return _TO_ENCODE.sub(lambda match: _CODE[match[0]], raw)


def _folded(line: bytes) -> bytes:
    """One encoded line with soft breaks where it is too long, beginning well after each."""
    folded: list[bytes] = []
    while True:
        if _BEGINS_BADLY.match(line):
            line = _CODE[line[:1]] + line[1:]
        if len(line) <= 75:
            return _SOFT.join([*folded, line])
        end = 75
        if (code := line.rfind(b"=", 73, 75)) >= 0:  # Never within =XX.
            end = code
        folded.append(line[:end])
        line = line[end:]


def _in_html(value: str) -> bytes:
    return value.encode("ascii") if _PLAIN_IN_HTML(value) else quoted(escaped(value))


def words(text: str, room: int) -> bytes:
    """`text` as RFC 2047 encoded words, folded; `room` is how much of 76 characters the first line has."""
    said: list[bytes] = []
    word, left = b"", (room - 12) // 4 * 3  # Twelve for =?utf-8?b? and ?=, and base64 makes four of three.
    for character in text:
        raw = character.encode("utf-8", "replace")
        if len(word) + len(raw) > left:
            said.append(word)
            word, left = b"", 45
        word += raw
    said.append(word)
    return b"\r\n ".join(b"=?utf-8?b?" + binascii.b2a_base64(word, newline=False) + b"?=" for word in said)


def mailbox(name: str, address: str) -> bytes:
    """A display name and a bare address as From wants them. Nothing in either can begin another header."""
    name = subject_line(name)
    bare = _address(address)
    if not name:
        return bare
    if _PLAIN_PHRASE(name) and "=?" not in name:
        return name.encode("ascii") + b" <" + bare + b">"
    if name.isascii() and len(name) <= 60 and "=?" not in name:
        return b'"' + re.sub(rb'(["\\])', rb"\\\1", name.encode("ascii")) + b'" <' + bare + b">"
    return words(name, 68) + b"\r\n <" + bare + b">"


def _address(address: str) -> bytes:
    """The address as a header has it. It was checked when it came in; here it can only not do harm."""
    if _PLAIN_ADDRESS(address):
        return address.encode("ascii")
    return _UNSAFE.sub("", address).encode("utf-8", "replace")


class EmailLetter:
    """One campaign's or flow step's mail, as one sender sends it: see `channels.letters.Mail`."""

    dotless = True

    def __init__(
        self,
        compiled: Compiled,
        *,
        sender_name: str,
        sender_email: str,
        tokens: Tokens,
        workspace_id: UUID,
        date: datetime,
        list_id: str | None = None,
        feedback_id: str | None = None,
        reply_to: str | None = None,
        way_out: bool = True,
        signer: Signs | None = None,
        bounces: Callable[[UUID], str] | None = None,
    ) -> None:
        """`date` is when the first batch goes; `at` gives the letter for later ones.

        `list_id` is the identifier of RFC 2919 without its brackets, such as
        news.shop.example; the workspace's by default. `feedback_id` is Gmail's Feedback-ID, up to four
        fields with colons between them. Without a `way_out` there is no List-Unsubscribe (RFC 8058).
        `bounces` gives each message a return path of its own.
        """
        self.sender = sender_email
        self.signer = signer
        self.feedback_id = feedback_id
        self._bounces = bounces
        self.compiled = compiled
        self._tokens = tokens
        self._workspace_id = workspace_id
        domain = _address(sender_email).rpartition(b"@")[2]
        self._message_id_ends = b"@" + domain + b">\r\nX-Campanile-Message: "
        self._way_out = way_out
        list_id = list_id or f"{workspace_id}.{domain.decode()}"
        headers = [("List-Id", f"<{_address(list_id).decode()}>")]
        if way_out:
            headers.append(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
        self._around = Around(
            from_name=subject_line(sender_name),
            from_email=_address(sender_email).decode(),
            reply_to=_address(reply_to).decode() if reply_to else None,
            headers=tuple(headers),
            unsubscribe=f"{compiled.public_url}/u/" if way_out else None,
        )
        self._head = b"From: " + mailbox(sender_name, sender_email) + b"\r\nTo: "
        fixed = [
            *([b"List-Unsubscribe-Post: List-Unsubscribe=One-Click"] if way_out else []),
            b"List-Id: <" + _address(list_id) + b">",
            b"MIME-Version: 1.0",
            b'Content-Type: multipart/alternative;\r\n boundary="' + _BOUNDARY + b'"',
        ]
        if reply_to:
            fixed.insert(0, b"Reply-To: " + _address(reply_to))
        self._fixed = b"\r\n".join(fixed) + b"\r\n\r\n"
        unsubscribe = f"{compiled.public_url}/u/".encode()
        self._unsubscribe = b"\r\nList-Unsubscribe: <" + unsubscribe
        self._bodies = {True: _Body(compiled, tracked=True), False: _Body(compiled, tracked=False)}
        self._dated(date)

    def at(self, now: datetime, feedback_id: str | None = None) -> "EmailLetter":
        """This letter with another Date, and another Feedback-ID if one is given: the same skeletons, so it
        costs next to nothing."""
        letter = copy.copy(self)
        letter.feedback_id = feedback_id or self.feedback_id
        letter._dated(now)
        return letter

    def return_path(self, envelope: Envelope) -> str:
        return self._bounces(envelope.id) if self._bounces else self.sender

    def _dated(self, now: datetime) -> None:
        date = b"\r\nDate: " + format_datetime(now.astimezone(UTC)).encode()
        if self._feedback:
            date += b"\r\nFeedback-ID: " + self._feedback.encode()
        self._date = date + b"\r\nMessage-ID: <"

    def fill(self, envelope: Envelope) -> bytes:
        """The complete message, all lines ending in CRLF, no line longer than 998 or beginning with a dot."""
        token = self._tokens.sign(self._workspace_id, envelope.id)
        signed = token.encode("ascii")
        name = str(envelope.id).encode("ascii")
        plain = written(self.compiled, envelope.holes, token, tracked=False)
        html = written(self.compiled, envelope.holes, token, envelope.tracked)
        subject = subject_line(filled(self.compiled.subject, plain, token))
        mail = b"".join(
            (
                self._head,
                _address(envelope.address),
                b"\r\nSubject: ",
                subject.encode("ascii") if _PLAIN_SUBJECT(subject) else words(subject, 67),
                self._date,
                name,
                self._message_id_ends,
                name,
                *((self._unsubscribe, signed, b">\r\n") if self._way_out else (b"\r\n",)),
                self._fixed,
                *self._bodies[envelope.tracked].pieces(plain, html, signed),
            )
        )
        return attached(mail, envelope.attachments) if envelope.attachments else mail

    def parts(self, envelope: Envelope) -> Parts:
        """The same in parts, for providers that put a mail together themselves."""
        return parts_of(self._around, self.compiled, self._token(envelope.id), envelope, self._feedback)

    def bulk(self, tracked: bool, tag: Callable[[int], str]) -> Bulk:
        """The same for many, with tags where they differ: see `mime_bulk`."""
        return bulk_of(self._around, self.compiled, self._token, tracked, tag, self._feedback)

    @property
    def _feedback(self) -> str | None:
        return _address(self.feedback_id).decode() if self.feedback_id else None

    def _token(self, message: UUID) -> str:
        return self._tokens.sign(self._workspace_id, message)


class _Body:
    """Both parts of a message, encoded but for their holes."""

    def __init__(self, compiled: Compiled, *, tracked: bool) -> None:
        pieces: list[bytes] = []
        here: list[int] = []
        text: list[tuple[int, int, Callable[[str], bytes]]] = []
        html: list[tuple[int, int, Callable[[str], bytes]]] = []

        def part(
            kind: bytes, skeleton: Skeleton, slots: list[tuple[int, int, Callable[[str], bytes]]]
        ) -> None:
            pieces.append(
                b"--" + _BOUNDARY + b"\r\nContent-Type: text/" + kind + b"; charset=utf-8\r\n"
                b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
            )
            for piece in skeleton:
                if isinstance(piece, str):
                    pieces.append(quoted(piece))
                elif isinstance(piece, Slot):
                    slots.append((len(pieces), piece.hole, _writing(piece.write)))
                    pieces.append(b"")
                else:
                    here.append(len(pieces))
                    pieces.append(b"")
                pieces.append(_SOFT)
            pieces.append(b"\r\n")

        part(b"plain", compiled.text, text)
        part(b"html", compiled.tracked_html if tracked else compiled.html, html)
        pieces.append(b"--" + _BOUNDARY + b"--\r\n")
        self._pieces, self._here, self._text, self._html = _joined(pieces, here, text, html)

    def pieces(self, text: Sequence[str], html: Sequence[str], token: bytes) -> list[bytes]:
        """The body in pieces; `text` and `html` are the values of the holes as those parts have them."""
        pieces = self._pieces.copy()
        for place in self._here:
            pieces[place] = token
        for place, hole, write in self._text:
            pieces[place] = write(text[hole])
        for place, hole, write in self._html:
            pieces[place] = write(html[hole])
        return pieces


_Slots = list[tuple[int, int, Callable[[str], bytes]]]


def _joined(
    pieces: list[bytes], here: list[int], text: _Slots, html: _Slots
) -> tuple[list[bytes], list[int], _Slots, _Slots]:
    """The same with all constant pieces that follow one another made one."""
    open_places = {*here, *(slot[0] for slot in text), *(slot[0] for slot in html)}
    moved: dict[int, int] = {}
    joined: list[bytes] = []
    constant: list[bytes] = []
    for place, piece in enumerate(pieces):
        if place in open_places:
            joined += [b"".join(constant), b""]
            constant = []
            moved[place] = len(joined) - 1
        else:
            constant.append(piece)
    joined.append(b"".join(constant))

    def at(slots: _Slots) -> _Slots:
        return [(moved[place], hole, write) for place, hole, write in slots]

    return joined, [moved[place] for place in here], at(text), at(html)


def _writing(write: Callable[[str], str]) -> Callable[[str], bytes]:
    """How a hole's value is encoded, given how it is written."""
    if write is as_is:
        return quoted
    if write is escaped:
        return _in_html
    return lambda value: quoted(write(value))
