"""What others said, without whom they said it of.

Providers name the address in what they answer. Their words are kept, logged and shown where nobody looks for
people: in the history of a workflow, of a breaker, in logs. There the address is of no use, and would stay
when its owner is erased. They may repeat a credential, too, theirs or ours.
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

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
# What names a credential, and its value: JSON (also within JSON), a header, a form, a query.
_NAMED = re.compile(
    r"((?:token|secret|password|passwd|pwd|authorization|credential|signature|cookie|session|apikey|accesskey|secretkey"
    r"|privatekey|(?<![a-z])key|\bauth\b)"
    r"[\w-]{0,20}[\\\"']{0,2}\s{0,3}[:=]\s{0,3})"
    r"(\\?\"[^\"\n]*\"?|'[^'\n]*'?|[^\s,;&<>\"'(){}\[\]]+)",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(bearer|basic)(\s{1,3})([^\s,;<>\"'(){}\[\]]+)", re.IGNORECASE)
_PREFIXED = re.compile(
    r"\b(?:AKIA|ASIA|eyJ|(?:sk|pk|rk|whsec|xox[a-z]|gh[a-z]|github_pat|glpat|SG|ya29)[-_.])[\w./+=-]{8,}"
)
_LONG = re.compile(r"[A-Za-z0-9_+/=-]{32,}")
_MIXED = re.compile(r"(?<![A-Za-z0-9+=])[A-Za-z0-9+=]{20,31}(?![A-Za-z0-9+=])")


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


def without_named_credentials(words: str) -> str:
    """The same words with `…` in place of a value that is named a credential (`token=…`, `"password": "…"`),
    of what follows `Bearer`, and of what begins as keys of well-known makers do. Ids stay, theirs too."""
    return _PREFIXED.sub(_GONE, _SCHEME.sub(_after_scheme, _NAMED.sub(_named, words)))


def without_credentials(words: str) -> str:
    """As above, and also in place of what is too long and too mixed for a word. Ids of ours stay."""
    words = without_named_credentials(words)
    return _MIXED.sub(
        _mixed, _LONG.sub(lambda found: found[0] if _UUID.fullmatch(found[0]) else _GONE, words)
    )


def _named(found: re.Match[str]) -> str:
    """Of `Password: wrong` and `Authorization: Basic` the second word says what is the matter."""
    name, value = found[1], found[2]
    if value[0] in "\\\"'":
        quote = value[: 2 if value[0] == "\\" else 1]
        return f"{name}{quote}{_GONE}{quote if value.endswith(quote) and len(value) > len(quote) else ''}"
    return found[0] if name[-1].isspace() and _is_word(value) else name + _GONE


def _after_scheme(found: re.Match[str]) -> str:
    """`Basic authentication is disabled` holds none."""
    return found[0] if _is_word(found[3]) else f"{found[1]}{found[2]}{_GONE}"


def _mixed(found: re.Match[str]) -> str:
    kinds = (str.isupper, str.islower, str.isdigit)
    return _GONE if all(any(map(kind, found[0])) for kind in kinds) else found[0]


def _is_word(text: str) -> bool:
    text = text.rstrip(".:!?")
    return text.isalpha() and text[1:].islower()
