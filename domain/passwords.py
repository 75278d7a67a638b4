"""Passwords: argon2id (RFC 9106), bcrypt until its owner comes back, and none that is easy to guess."""

from collections.abc import Sequence
from functools import cache

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

SHORTEST, LONGEST = 10, 200  # Characters.
_READ = 40  # Its search takes seconds for more; a password is not weaker for what follows.
_STRONG_ENOUGH = 3  # Of zxcvbn's 0 to 4: more than 10^8 guesses.

_hasher = PasswordHash((Argon2Hasher(), BcryptHasher()))


@cache
def _nobodys() -> str:
    return _hasher.hash("nobody has this password")


def weakness(password: str, about: Sequence[str] = ()) -> str | None:
    """Why this password is refused, in a sentence, or None.

    `about` is what a guesser would know: the address and the name. The estimate, with its lists of leaked
    passwords, names and words, is zxcvbn's (Wheeler, USENIX Security 2016). It may take a second: call it
    in a thread.
    """
    if len(password) < SHORTEST:
        return f"A password has at least {SHORTEST} characters; a few words in a row are good."
    if len(password) > LONGEST:
        return f"A password has at most {LONGEST} characters."
    about = ("campanile", *(word[:_READ] for word in about if word))
    from zxcvbn import zxcvbn  # Its lists take 13 MB, and most processes never need them.

    found = zxcvbn(password[:_READ], user_inputs=[*about])
    if found["score"] >= _STRONG_ENOUGH:
        return None
    feedback = found["feedback"]
    reasons = [feedback["warning"] or "This password is easy to guess.", *feedback["suggestions"]]
    return " ".join(reason.rstrip(".") + "." for reason in reasons)


def hash_of(password: str) -> str:
    """Takes a tenth of a second and 64 MB: call it in a thread."""
    return _hasher.hash(password)


def verify(password: str, kept: str | None) -> tuple[bool, str | None]:
    """Whether the password is the one, and a new hash to keep if the old one was of an older kind.

    With None, for nobody, it takes as long and is always false. Call it in a thread.
    """
    nobodys = _nobodys()  # For everybody: the first who asks would know by the time whether he is somebody.
    try:
        good, new = _hasher.verify_and_update(password, kept or nobodys)
    except (UnknownHashError, ValueError):  # bcrypt takes 72 bytes, and raises for more.
        return False, None
    return (good, new) if kept else (False, None)
