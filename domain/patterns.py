"""Patterns: the regular expressions that a marketer may write, so small that none can run away.

They are read here and written out anew in one form, which means the same to Python's `re` and to PostgreSQL
(whose expressions differ in what `.`, `$`, `\\d` and a class say). Not taken: groups that repeat something
that repeats, back-references, and looking around.
"""

import re
from functools import lru_cache

LONGEST = 100  # Characters.
REACH = 200  # Characters of a value that are looked at.
MOST_TIMES = 50  # Of {m,n}.
MOST_LOOSE = 2  # Of *, + and {m,n}: Python tries each length of each with each of the others.
MOST_OPTIONAL = 5  # Of ?.
DEEPEST = 5

_SETS = {"d": "0-9", "w": "A-Za-z0-9_", "s": r" \t\n\r\f\v"}


@lru_cache(maxsize=1_000)
def compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(canonical(pattern).replace("$", r"\Z"))


@lru_cache(maxsize=1_000)
def canonical(pattern: str) -> str:
    """The pattern as both engines read it alike.

    Raises `ValueError` with a sentence about what is not taken.
    """
    if not 1 <= len(pattern) <= LONGEST:
        raise ValueError(f"A pattern has 1 to {LONGEST} characters.")
    reader = _Reader(pattern)
    written, _ = reader.choice(0)
    if reader.ahead:
        raise ValueError('The pattern has a ")" without its "(": write \\) for the character.')
    if reader.loose > MOST_LOOSE or reader.optional > MOST_OPTIONAL:
        raise ValueError(
            f"A pattern has at most {MOST_LOOSE} of *, + and {{m,n}}, and {MOST_OPTIONAL} of ?: simplify it."
        )
    return written


class _Reader:
    def __init__(self, pattern: str) -> None:
        self.rest = list(reversed(pattern))
        self.loose = self.optional = 0

    @property
    def ahead(self) -> str:
        return self.rest[-1] if self.rest else ""

    def take(self) -> str:
        if not self.rest:
            raise ValueError("The pattern ends in the middle of something.")
        return self.rest.pop()

    def choice(self, depth: int) -> tuple[str, bool]:
        """Branches, up to the end of their group. Also whether there are several, or something repeats."""
        if depth > DEEPEST:
            raise ValueError(f"The pattern has groups in groups more than {DEEPEST} deep.")
        written, repeats = "", False
        while self.ahead and self.ahead != ")":
            if self.ahead == "|":
                written, repeats = written + self.take(), True  # It has more than one way to match, too.
                continue
            piece, again = self.piece(depth)
            written, repeats = written + piece, repeats or again
        if not all(written.split("|")) and "|" in written:
            raise ValueError('There is nothing on one side of a "|".')
        return written, repeats

    def piece(self, depth: int) -> tuple[str, bool]:
        character = self.take()
        if character in "^$":
            if self.ahead and self.ahead in "*+?{":
                raise ValueError(f'"{character}" can\'t be repeated.')
            return character, False
        inside = False
        match character:
            case "(":
                if self.ahead == "?":
                    raise ValueError('"(?" is not taken: plain groups alone are.')
                written, inside = self.choice(depth + 1)
                if not self.ahead:
                    raise ValueError('The pattern has a "(" without its ")".')
                self.take()
                if not written:
                    raise ValueError("The pattern has an empty group.")
                written = f"(?:{written})"
            case "[":
                written = self.set_()
            case ".":
                written = "[\\U00000001-\\U0010FFFF]"
            case "\\":
                written = self.escaped()
            case "*" | "+" | "?" | "{":
                raise ValueError(
                    f'There is nothing before "{character}" to repeat: write \\{character} for it.'
                )
            case _:
                written = _literal(character)
        times = self.times()
        if times not in ("", "?") and inside:
            raise ValueError(
                'A group that repeats can\'t hold something that repeats, or a "|": it may never end.'
            )
        return written + times, inside or bool(times)

    def times(self) -> str:
        if not self.ahead or self.ahead not in "*+?{":
            return ""
        times = self.take()
        self.optional += times == "?"
        self.loose += times in "*+"
        if times == "{":
            inside = ""
            while self.ahead != "}":
                inside += self.take()
            self.take()
            low, comma, high = inside.partition(",")
            if not low.isascii() or not low.isdigit() or (high and not (high.isascii() and high.isdigit())):
                raise ValueError("Write {3}, {2,} or {2,5}.")
            if max(int(low), int(high or 0)) > MOST_TIMES or (high and int(high) < int(low)):
                raise ValueError(
                    f"Repeat something {MOST_TIMES} times at most, and the smaller number first."
                )
            self.loose += comma == "," and low != high
            times = f"{{{int(low)}{comma}{int(high) if high else ''}}}"
        if self.ahead and self.ahead in "*+?{":
            raise ValueError("Something is repeated twice over.")
        return times

    def escaped(self) -> str:
        character = self.take()
        if character in _SETS:
            return f"[{_SETS[character]}]"
        if character.isalnum():
            raise ValueError(f"\\{character} is not taken: \\d, \\w and \\s are.")
        return _literal(character)

    def set_(self) -> str:
        """A class such as [a-z0-9_]."""
        written, members = "[", 0
        if self.ahead == "^":
            written += self.take()
        while not (self.ahead == "]" and members):
            low = self.member()
            members += 1
            if len(low) == 1 and self.ahead == "-" and len(self.rest) > 1 and self.rest[-2] != "]":
                self.take()
                high = self.member()
                if len(high) != 1 or high < low:
                    raise ValueError("A range such as a-z goes from the smaller character to the larger.")
                written += f"{_literal(low)}-{_literal(high)}"
            else:
                written += _literal(low) if len(low) == 1 else low
        self.take()
        return written + "]"

    def member(self) -> str:
        """One character of a class, or what \\d and the like stand for."""
        character = self.take()
        if character != "\\":
            return character
        escaped = self.take()
        if escaped in _SETS:
            return _SETS[escaped]
        if escaped.isalnum():
            raise ValueError(f"\\{escaped} is not taken: \\d, \\w and \\s are.")
        return escaped


def _literal(character: str) -> str:
    """One character as it is: both engines read an escape by its code."""
    return character if character.isascii() and character.isalnum() else f"\\U{ord(character):08X}"
