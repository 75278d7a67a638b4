"""Single messages: what one may say and carry, and when two say the same."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any

import orjson

from domain.channels import Channel
from domain.errors import Invalid

STEP = "single"  # messages.step
MOST = 100  # Messages in one request.
MOST_FILES = 10  # With one message.
LARGEST_FILES = 7_000_000  # Bytes, all together: mailboxes take 10 MB, and base64 adds a third.
LARGEST_DATA = 100_000  # Bytes, as JSON.
LONGEST_WAIT = timedelta(days=30)
_RULES = b"1"  # Goes up when the same words mean something else than before.
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,200}")
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
# They have parts of their own, which a mail program would take for ours.
_NO_TYPES = ("multipart/", "message/")


def same(channel: Channel, content: Mapping[str, Any]) -> bytes:
    """What two bodies that say the same have in common, and no others: a SHA-256."""
    said = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return sha256(b"\0".join((_RULES, channel.encode(), said))).digest()


def file_name(name: str) -> str:
    """A file's name as it is sent. Raises `ValueError` with half a sentence that says what is wrong."""
    name = name.strip()
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise ValueError("Send a name of 1 to 200 characters without slashes and control characters")
    return name


def content_type(name: str) -> str:
    """A file's type (RFC 2045, section 5.1), without parameters. Raises `ValueError`."""
    name = name.strip().lower()
    if not _TYPE.fullmatch(name) or name.startswith(_NO_TYPES):
        raise ValueError("Send a type such as application/pdf, without parameters")
    return name


def file_content(text: str) -> bytes:
    """What base64 says. Raises `ValueError`."""
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("This is no base64") from error


def check_storable(value: Any, pointer: str) -> None:
    """Raise `Invalid` for the first text within that the database can't keep, with a pointer to it."""
    for at, text in _texts(value, pointer):
        if "\0" in text or not _is_whole(text):
            raise Invalid("This holds a NUL or half a character, which can't be stored: take it out.", at)


def _texts(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    match value:
        case str():
            yield pointer, value
        case Mapping():
            for key, each in value.items():
                at = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
                yield pointer, key
                yield from _texts(each, at)
        case list():
            for index, each in enumerate(value):
                yield from _texts(each, f"{pointer}/{index}")


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
