"""docs/segments.md says what is so: its examples, its sentences, and what absence means."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from domain.conditions import Attribute
from domain.facts import Person
from domain.moments import When
from domain.presets import RFM
from domain.segments import KINDS, conditions, parse
from domain.sentences import sentence
from tests.domain.spoken import NAMES

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)

PAGE = (Path(__file__).parents[2] / "docs" / "segments.md").read_text()


def _examples() -> Iterator[tuple[str, str]]:
    """Each rule with the words below it, or beside it in a table."""
    lines = iter(PAGE.splitlines())
    for line in lines:
        if line == "```json":
            rule = "\n".join(iter(lambda: next(lines), "```"))
            if (words := next(lines)).startswith("> "):  # The others are no rules.
                yield rule, words.removeprefix("> ")
        elif line.startswith("| `{"):
            rule, _, words = line.removeprefix("| `").rpartition("` | ")
            yield rule, words.removesuffix(" |")


EXAMPLES = [(json.loads(rule), words) for rule, words in _examples()]


@pytest.mark.parametrize(("rule", "words"), EXAMPLES)
def test_the_page_has_the_sentence_of_its_example(rule: dict[str, Any], words: str) -> None:
    assert sentence(parse(rule, in_flow=True), NAMES) == words


def test_the_page_has_an_example_of_every_kind_operator_and_measure() -> None:
    shown = [each for rule, _ in EXAMPLES for each in conditions(parse(rule, in_flow=True))]
    assert {each.kind for each in shown} == set(KINDS)
    ops = {each.op for each in shown if isinstance(each, Attribute)}
    assert ops == _ops(Attribute.model_fields["op"].annotation)
    for measure in ("total", "count", "average", "largest", "first", "last", "sum"):
        assert any(getattr(each, "measure", None) == measure for each in shown), measure


def _ops(annotation: Any) -> set[str]:
    inside = get_args(annotation)
    return set().union(*(_ops(each) for each in inside)) if inside else {annotation}


VALUES: dict[str, Any] = {
    "in": ("a",),
    "not in": ("a",),
    "between": (1, 2),
    "includes": "a",
    "does not include": "a",
    "before": "2026-05-03",
    "on or after": "2026-05-03",
    "anniversary in": 1,
    "anniversary within": 1,
    "exists": None,
    "does not exist": None,
}


def test_what_absence_means_is_as_the_page_says() -> None:
    said = re.findall(r"^\| (`.*`) \| (true|false) \| (true|false) \|$", PAGE, re.MULTILINE)
    ops = [(op, *answers) for listed, *answers in said for op in re.findall("`([^`]+)`", listed)]
    assert {op for op, _, _ in ops} == _ops(Attribute.model_fields["op"].annotation)
    for op, nothing, another in ops:
        asked = Attribute(name="it", op=op, value=VALUES.get(op, "a"))
        other: Any = "a" if op.endswith("include") or op == "includes" else {"a": 1}
        for found, answer in (({}, nothing), ({"it": None}, nothing), ({"it": other}, another)):
            assert asked.holds(Person(attributes=found), When(NOW, "UTC", "USD")) == (answer == "true"), op


def test_the_page_has_the_groups_of_rfm_in_their_places() -> None:
    rows = re.findall(r"^\| \*\*(5|4|3|2)\*\*(?: and \*\*1\*\*)? \| (.*) \|$", PAGE, re.MULTILINE)
    places = {int(recency): row.split(" | ") for recency, row in rows}
    places[1] = places[2]
    for name, (oldest, newest), (least, most), _ in RFM:
        for recency in range(oldest, newest + 1):
            for frequency in range(least, most + 1):
                assert f"RFM: {places[recency][frequency - 1]}" == name
