"""What others said, without whom they said it of.

Providers name the address in what they answer. Their words are kept, logged and shown where nobody looks for
people: in the history of a workflow, of a breaker, in logs. There the address is of no use, and would stay
when its owner is erased.
"""

import re

_WORD = re.compile(r"[^\s<>]+")
_QUOTED = re.compile(r'"[^"@<>\n]{0,64}"@')  # A local part that may hold blanks.
# A number as it is dialled, with whatever groups it, or written without a plus. What has fewer digits, stands
# within a longer name, or has a dot before or behind it is a code, an id or a version.
_DIALLED = re.compile(r"\+[ ]?[(]?[0-9][-0-9 ()./]{5,24}")
_BARE = re.compile(r"(?<![\w.])[0-9]{9,16}(?![\w.]\w|\w)")
_FEWEST_DIGITS = 7
_GONE = "…"


def without_addresses(words: str) -> str:
    """The same words with `…` in place of each e-mail address and phone number."""
    words = _WORD.sub(_mail, _QUOTED.sub(_GONE + "@", words))
    return _BARE.sub(_GONE, _DIALLED.sub(_number, words))


def _mail(found: re.Match[str]) -> str:
    word = found[0]
    if "@" not in word and "%40" not in word:
        return word
    return _GONE + word[len(word.rstrip(".,:;!?)]}\"'")) :]


def _number(found: re.Match[str]) -> str:
    number = found[0].rstrip(" -()./")
    if sum(each.isdigit() for each in number) < _FEWEST_DIGITS:
        return found[0]
    return _GONE + found[0][len(number) :]
