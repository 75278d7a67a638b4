"""Text messages: segments as 3GPP TS 23.038 and 23.040 have them, and what people mean by a word."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.texts import _BASIC, _EXTENSION, Encoding, Word, price, size, word

GSM, UCS = Encoding.GSM_7, Encoding.UCS_2


@pytest.mark.parametrize(
    ("text", "encoding", "characters", "segments"),
    [
        ("", GSM, 0, 0),
        ("a", GSM, 1, 1),
        ("a" * 160, GSM, 160, 1),
        ("a" * 161, GSM, 161, 2),
        ("a" * 306, GSM, 306, 2),
        ("a" * 307, GSM, 307, 3),
        ("€" * 80, GSM, 160, 1),
        ("€" * 81, GSM, 162, 2),
        # 153 is odd: the escape of the 77th € would be the part's last septet, so it moves on.
        ("€" * 152, GSM, 304, 2),
        ("€" * 153, GSM, 306, 3),
        ("äöüßñÉ£", GSM, 7, 1),
        ("[{~}]", GSM, 10, 1),
        ("ê", UCS, 1, 1),
        ("`", UCS, 1, 1),
        ("Ж" * 70, UCS, 70, 1),
        ("Ж" * 71, UCS, 71, 2),
        ("Ж" * 134, UCS, 134, 2),
        ("Ж" * 135, UCS, 135, 3),
        ("😀" * 35, UCS, 70, 1),
        ("😀" * 36, UCS, 72, 2),
        # 67 is odd, too: 33 of them to a part.
        ("😀" * 66, UCS, 132, 2),
        ("😀" * 67, UCS, 134, 3),
    ],
)
def test_a_text_takes_so_many_segments(text: str, encoding: Encoding, characters: int, segments: int) -> None:
    said = size(text)

    assert (said.encoding, said.characters, said.segments) == (encoding, characters, segments)


def test_the_alphabet_has_as_many_letters_as_the_standard_says() -> None:
    assert len(_BASIC) == 127  # 128 places, of which one is the escape.
    assert len(_EXTENSION) == 10


def cut(text: str) -> int:
    """The parts of a text, cut letter by letter: the standard told another way."""
    gsm = set(text) <= _BASIC | _EXTENSION
    units = (
        [["e", letter] if letter in _EXTENSION else [letter] for letter in text]
        if gsm
        else [
            [letter.encode("utf-16-be")[at : at + 2] for at in range(0, len(letter.encode("utf-16-be")), 2)]
            for letter in text
        ]
    )
    whole, part = (160, 153) if gsm else (70, 67)
    if sum(map(len, units)) <= whole:
        return 1 if text else 0
    parts: list[int] = [0]
    for unit in units:
        if parts[-1] + len(unit) > part:
            parts.append(0)
        parts[-1] += len(unit)
    return len(parts)


letters = st.one_of(
    st.sampled_from(sorted(_BASIC | _EXTENSION)),
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from("😀€a"),
)


@given(st.one_of(st.text(letters, max_size=400), st.text(sorted(_BASIC | _EXTENSION), max_size=700)))
def test_segments_are_those_of_a_text_cut_letter_by_letter(text: str) -> None:
    assert size(text).segments == cut(text)


@given(st.text(letters, max_size=300), st.text(letters, max_size=50))
def test_more_text_never_takes_fewer_segments(text: str, more: str) -> None:
    assert size(text + more).segments >= size(text).segments


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("STOP", Word.STOP),
        (" stop. ", Word.STOP),
        ("Stop, please!", Word.STOP),
        ("OPT OUT", Word.STOP),
        ("opt-out", Word.STOP),
        ("Stop all", Word.STOP),
        ("unsubscribe", Word.STOP),
        ("REVOKE", Word.STOP),
        ("Quit", Word.STOP),
        ("end", Word.STOP),
        ("cancel", Word.STOP),
        ("Start", Word.START),
        ("UNSTOP", Word.START),
        (" Yes! ", Word.START),
        ("yes please", None),
        ("Start, bitte", None),
        ("please stop", Word.STOP),
        ("help?", Word.HELP),
        ("Where is the bus stop", None),
        ("", None),
        ("stop " * 1000, None),
    ],
)
def test_a_word_counts_where_it_is_all_that_is_said(text: str, meant: Word | None) -> None:
    assert word(text) is meant


def test_the_longest_prefix_has_the_price() -> None:
    prices = {"+1": Decimal("0.0079"), "+1684": Decimal("0.1"), "+49": Decimal("0.0811")}

    assert price(prices, "+16845550100") == Decimal("0.1")
    assert price(prices, "+12025550100") == Decimal("0.0079")
    assert price(prices, "+4917012345678") == Decimal("0.0811")
    assert price(prices, "+3312345678") is None
