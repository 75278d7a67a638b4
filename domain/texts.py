"""Text messages: how many parts a text takes, what a person means by STOP, and what sending costs.

A text of letters of the GSM alphabet (3GPP TS 23.038 §6.2.1, with the extension table of §6.2.1.1) is sent
in septets, 160 to a message; any other one in UTF-16, 70 units to a message. A longer text goes in parts that
say which they are and hold less: 153 septets or 67 units (3GPP TS 23.040 §9.2.3.24.1). No part ends within a
letter that takes two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

_ESCAPE = "\x1b"
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\x0c^{}\\[~]|€")  # Each is the escape and another: two septets.

LONGEST = 1600  # Characters that a text may have: what Twilio takes.


class Encoding(StrEnum):
    GSM_7 = "GSM-7"
    UCS_2 = "UCS-2"


_WHOLE = {Encoding.GSM_7: 160, Encoding.UCS_2: 70}
_PART = {Encoding.GSM_7: 153, Encoding.UCS_2: 67}


@dataclass(frozen=True, slots=True)
class Size:
    """What a text takes on the air."""

    encoding: Encoding
    characters: int  # As they are counted: septets, or units of UTF-16.
    segments: int  # Each is paid for.


def size(text: str) -> Size:
    """How many segments a text is sent in; none for an empty one."""
    if all(letter in _BASIC or letter in _EXTENSION for letter in text):
        encoding, widths = Encoding.GSM_7, [2 if letter in _EXTENSION else 1 for letter in text]
    else:
        encoding, widths = Encoding.UCS_2, [2 if ord(letter) > 0xFFFF else 1 for letter in text]
    characters = sum(widths)
    if characters <= _WHOLE[encoding]:
        return Size(encoding, characters, 1 if text else 0)
    segments, left = 0, 0
    for width in widths:
        if width > left:
            segments, left = segments + 1, _PART[encoding]
        left -= width
    return Size(encoding, characters, segments)


class Word(StrEnum):
    """What a person who answers a text may mean, beside what they say."""

    STOP = "stop"
    START = "start"
    HELP = "help"


_STOP = ("stop", "stopall", "stop-all", "quit", "end", "revoke", "opt-out", "optout", "cancel", "unsubscribe")
_WORDS = {
    **dict.fromkeys((*_STOP, "stopp", "abmelden"), Word.STOP),
    **dict.fromkeys(("start", "unstop", "yes"), Word.START),
    **dict.fromkeys(("help", "info"), Word.HELP),
}
_POLITE = ("please", "pls", "bitte")


def word(text: str) -> Word | None:
    """What the whole text means, however it is written: "Stop!", "please stop". None for other words.

    The words are those of 47 CFR 64.1200(a)(10) and the ones that carriers know. A START must be the word and
    nothing else: "yes please" answers some other question.
    """
    if len(text) > 100:
        return None
    said = "".join(letter if letter.isalnum() else " " for letter in text.casefold()).split()
    meant = _WORDS.get("-".join(each for each in said if each not in _POLITE))
    return None if meant is Word.START and len(said) > 1 else meant


def price(prices: Mapping[str, Decimal], phone: str) -> Decimal | None:
    """What a segment to this number costs: the price of the longest prefix, such as +49, that it has. None
    where there is no price."""
    for length in range(len(phone), 0, -1):
        if (found := prices.get(phone[:length])) is not None:
            return found
    return None
