"""By which name a request is asked about later: its sender's own, or a new one."""

import re
from uuid import uuid4

_GOOD = re.compile(r"[A-Za-z0-9._:-]{1,100}").fullmatch


def request_id(given: str) -> str:
    """`given` is what `X-Request-Id` holds, or nothing."""
    return given if _GOOD(given) else uuid4().hex
