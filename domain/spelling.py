"""JSON spells one text in many ways; this makes one of them. Pure."""

import re

_PAIR = r"\\u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
_ESCAPE = re.compile(_PAIR + r"|\\u(?P<one>[0-9a-fA-F]{4})|\\(?P<other>.)")
_HALF = range(0xD800, 0xE000)
_STAYS = {*range(0x20), ord('"'), ord("\\"), 0x7F}  # What means something else when it is not escaped.


def spelt_out(json: str) -> str:
    """JSON, or a part of it, with the escapes written as the characters that they stand for.

    It says the same: quotes, backslashes, control characters and halves of characters stay escaped.
    """
    return _ESCAPE.sub(_character, json) if "\\" in json else json


def _character(found: re.Match[str]) -> str:
    high, low, one, other = found.group("high", "low", "one", "other")
    if high is not None and low is not None:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if one is not None:
        code = int(one, 16)
        return found[0] if code in _STAYS or code in _HALF else chr(code)
    return "/" if other == "/" else found[0]
