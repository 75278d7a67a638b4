"""The examples of the OpenAPI document say what the program says."""

from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from api.routes.segment_answers import EstimateOut, ExplanationOut
from api.routes.segment_builder import PresetOut
from api.routes.segments import EXAMPLE, SHOWN, VersionOut
from domain import presets
from domain.facts import Person, Purchase
from domain.segments import as_json, parse
from domain.sentences import Names, explained, sentence

NAMES = Names("USD", {})
BOUGHT = [(datetime(2026, month, 20, tzinfo=UTC), total) for month, total in ((2, 31), (3, 150), (4, 250))]


def example(model: type[BaseModel]) -> Any:
    extra = model.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    return extra["example"]


def test_the_rules_that_are_shown_have_their_sentences() -> None:
    for shown in (SHOWN, example(VersionOut), {**EXAMPLE, **example(EstimateOut)}):
        assert sentence(parse(shown["rule"]), NAMES) == shown["sentence"]


def test_the_preset_that_is_shown_is_there() -> None:
    shown = example(PresetOut)
    [preset] = [each for each in presets.presets(None, "USD") if each.name == shown["name"]]
    ready = {name: getattr(preset, name) for name in ("name", "group", "sentence", "good_for")}
    assert shown == {**ready, "rule": as_json(preset.rule), "segment_id": None}


def test_the_explanation_that_is_shown_is_that_of_somebody() -> None:
    somebody = Person(purchases=tuple(Purchase(at, Decimal(total), "USD") for at, total in BOUGHT))
    now = datetime(2026, 11, 21, 9, tzinfo=UTC)
    why = explained(parse(EXAMPLE["rule"]), somebody, now=now, time_zone="UTC", currency="USD", names=NAMES)
    found = asdict(why)
    assert example(ExplanationOut)["why"] == _listed(found)


def _listed(why: dict[str, Any]) -> dict[str, Any]:
    return {**why, "parts": [_listed(each) for each in why["parts"]]}
