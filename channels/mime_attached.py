"""Files in a mail: the mail as it is becomes the first part of another, and the files follow it.

Bodies of files are base64 (RFC 2045, section 6.8). A name that is not plain ASCII, or long, is written as
RFC 2231 has it.
"""

import base64
import re
from collections.abc import Sequence
from urllib.parse import quote

from channels.contract import Attachment

_BOUNDARY = b"=_campanile_mixed"  # "=_" can't occur in quoted-printable, nor "_" in base64.
_KIND = b"\r\nContent-Type: "
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 !#$&+.^_`{|}~()\[\]@,;:=-]{1,60}").fullmatch
_PIECE = 60  # Characters of a name on one line.


def attached(mail: bytes, files: Sequence[Attachment]) -> bytes:
    """The mail with these files. `mail` is complete, and its last header of all is its Content-Type."""
    head, _, body = mail.partition(b"\r\n\r\n")
    before, _, kind = head.rpartition(_KIND)
    return b"".join(
        (
            before,
            _KIND + b'multipart/mixed;\r\n boundary="' + _BOUNDARY + b'"\r\n\r\n--' + _BOUNDARY,
            _KIND + kind + b"\r\n\r\n",
            body,
            *(_part(file) for file in files),
            b"\r\n--" + _BOUNDARY + b"--\r\n",
        )
    )


def _part(file: Attachment) -> bytes:
    content = base64.encodebytes(file.content).rstrip(b"\n").replace(b"\n", b"\r\n")
    return b"".join(
        (
            b"\r\n--" + _BOUNDARY,
            _KIND + file.content_type.encode("ascii", "replace"),
            b"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment",
            named(file.name),
            b"\r\n\r\n",
            content,
        )
    )


def named(name: str) -> bytes:
    """The parameter `filename` with what goes before it, each piece on a line of its own."""
    if _PLAIN_NAME(name):
        return b';\r\n filename="' + name.encode("ascii") + b'"'
    letters = [quote(letter, safe="", errors="replace") for letter in name]
    pieces = [""]
    for letter in letters:
        if len(pieces[-1]) + len(letter) > _PIECE:
            pieces.append("")
        pieces[-1] += letter
    if len(pieces) == 1:
        return f";\r\n filename*=utf-8''{pieces[0]}".encode("ascii")
    first = ["utf-8''", *[""] * (len(pieces) - 1)]
    return "".join(
        f";\r\n filename*{n}*={charset}{piece}"
        for n, (charset, piece) in enumerate(zip(first, pieces, strict=True))
    ).encode("ascii")
