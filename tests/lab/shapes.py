"""Compares what the lab says with what the providers' documentation shows, written down by hand.

In a fixture a text stands for itself, `~…` for whatever matches that regular expression from end to end, `?`
before a name for a field that may be missing. Numbers and booleans stand for their kind.
"""

import json
import re
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures"


def fixture(name: str) -> dict[str, Any]:
    """One provider's bodies."""
    found = json.loads((FIXTURES / f"{name}.json").read_text())
    assert isinstance(found, dict)
    return found


def differences(actual: Any, expected: Any, at: str = "body") -> list[str]:
    """Where the actual body is not as the fixture has it, in words."""
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            return [f"{at} is {actual!r}, not an object"]
        names = {name.removeprefix("?"): value for name, value in expected.items()}
        needed = {name for name in expected if not name.startswith("?")}
        found = [f"{at}.{name} is missing" for name in needed - actual.keys()]
        found += [f"{at}.{name} is not documented" for name in actual.keys() - names.keys()]
        for name in names.keys() & actual.keys():
            found += differences(actual[name], names[name], f"{at}.{name}")
        return found
    if isinstance(expected, list):
        if not isinstance(actual, list) or (expected and not actual):
            return [f"{at} is {actual!r}, not a list with something in it"]
        return [one for n, value in enumerate(actual) for one in differences(value, expected[0], f"{at}.{n}")]
    if isinstance(expected, str) and expected.startswith("~"):
        good = isinstance(actual, str) and re.fullmatch(expected[1:], actual, re.DOTALL)
        return [] if good else [f"{at} is {actual!r}, not like {expected[1:]}"]
    if isinstance(expected, bool | int | float):
        return [] if type(actual) is type(expected) else [f"{at} is {actual!r}, not a {type(expected)}"]
    return [] if actual == expected else [f"{at} is {actual!r}, not {expected!r}"]
