"""One text, however its JSON spells it."""

import json

import pytest

from domain.keys import new_key, without_keys
from domain.roles import KeyKind
from domain.spelling import spelt_out


@pytest.mark.parametrize(
    ("spelt", "plain"),
    [
        (r'"\u0061da@shop.example"', '"ada@shop.example"'),
        (r'"\u00e9 \ud83d\ude00 \/"', '"é 😀 /"'),
        (r'"\\u0061"', r'"\\u0061"'),
        (r'"\u0022 \u005c \u0000 \n \ud83d x"', r'"\u0022 \u005c \u0000 \n \ud83d x"'),
        ('"cut \\', '"cut \\'),
        ('"cut \\u00', '"cut \\u00'),
    ],
)
def test_escapes_are_written_out_and_mean_the_same(spelt: str, plain: str) -> None:
    assert spelt_out(spelt) == plain
    if plain.endswith('"'):
        assert json.loads(spelt) == json.loads(plain)


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_key_is_struck_out_wherever_it_stands_and_wherever_it_was_cut(kind: KeyKind) -> None:
    key = new_key(kind)
    assert without_keys(f'{{"key": "{key}", "is_key": true}}') == f'{{"key": "{kind}_…", "is_key": true}}'
    for length in (3, 12, 30):
        assert without_keys(f'{{"key": "{key[:length]}') == f'{{"key": "{kind}_…'
