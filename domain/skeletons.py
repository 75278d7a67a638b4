"""Skeletons: the text around the holes of a template, and how a hole's value is written there."""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import escape

from domain.holes import CLOSE, GUARD, OPEN, TOKEN


def as_is(value: str) -> str:
    return value


def escaped(value: str) -> str:
    return value if value.isalnum() else str(escape(value))  # Most names have nothing to escape.


def unescaped(value: str) -> str:
    return html.unescape(value)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a skeleton for a hole's value, and how it is written there."""

    hole: int
    write: Callable[[str], str]


class Here:
    """The place in a skeleton for the message's token."""


HERE = Here()
Piece = str | Slot | Here
Skeleton = tuple[Piece, ...]
_CUT = re.compile(f"({OPEN}{GUARD}?\\d+{CLOSE}|{re.escape(TOKEN)})")


def skeleton(said: str, writing: Callable[[int, bool], Callable[[str], str]]) -> Skeleton:
    """Cut a part that was taken apart into pieces.

    `writing(hole, guarded)` says how that hole's value is written; `guarded` where it begins a link.
    """
    pieces: list[Piece] = []
    for text in _CUT.split(said):
        if text.startswith(OPEN):
            number = text.strip(OPEN + GUARD + CLOSE)
            pieces.append(Slot(int(number), writing(int(number), GUARD in text)))
        elif text == TOKEN:
            pieces.append(HERE)
        elif text:
            pieces.append(text)
    return tuple(pieces)


def filled(pieces: Skeleton, values: Sequence[str], token: str) -> str:
    """The skeleton with every hole's value and the token in place."""
    said = []
    for piece in pieces:
        if isinstance(piece, str):
            said.append(piece)
        elif isinstance(piece, Slot):
            said.append(piece.write(values[piece.hole]))
        else:
            said.append(token)
    return "".join(said)
