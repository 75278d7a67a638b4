"""What providers that fill in mails themselves have in common: tags that can't be mistaken, and headers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from channels.letters import Mail, Parts


@dataclass
class Calling:
    """A call for many: what all in it have in common, and each person's part, both encoded as JSON."""

    member: bytes  # The name under which the parts stand.
    common: bytes  # The rest of the object: its other members and its end.
    people: list[tuple[int, bytes]] = field(default_factory=list)  # With their places in the batch.
    size: int = 0  # Bytes, more or less.
    begun: bool = False

    def __post_init__(self) -> None:
        self.size = len(self.common) + sum(len(part) + 1 for _, part in self.people)

    def add(self, place: int, part: bytes) -> None:
        self.people.append((place, part))
        self.size += len(part) + 1

    @property
    def places(self) -> list[int]:
        return [place for place, _ in self.people]

    @property
    def body(self) -> bytes:
        parts = b",".join([part for _, part in self.people])
        return b'{"%b":[%b],%b' % (self.member, parts, self.common)

    def with_people(self, people: list[tuple[int, bytes]]) -> "Calling":
        return Calling(self.member, self.common, people)

    def halves(self) -> "tuple[Calling, Calling]":
        middle = len(self.people) // 2
        return self.with_people(self.people[:middle]), self.with_people(self.people[middle:])


_OPENINGS = "^`~|"  # Rare in what people write.


def unmistakable(letter: Mail, tracked: bool) -> str | None:
    """A character to begin tags with that the letter has nowhere else, if there is one.

    A tag that begins with it is found where it was put and nowhere else, in whichever order tags are
    replaced, as long as no value has that character.
    """
    constant = everything(letter.bulk(tracked, lambda _: "\0").parts)
    return next((character for character in _OPENINGS if character not in constant), None)


def everything(parts: Parts) -> str:
    return "\0".join((parts.subject, parts.html, parts.text))


def headers_of(
    parts: Parts, tags: Sequence[str]
) -> tuple[dict[str, str], Callable[[Mapping[str, str]], dict[str, str]]]:
    """The headers that are the same for all, and what gives the others from a message's values. A header
    has one tag at most."""
    same: dict[str, str] = {}
    differing: list[tuple[str, str, str, str]] = []
    for name, value in parts.headers:
        tag = next((tag for tag in tags if tag in value), None)
        if tag is None:
            same[name] = value
        else:
            before, _, after = value.partition(tag)
            differing.append((name, before, tag, after))

    def fill(values: Mapping[str, str]) -> dict[str, str]:
        return {name: f"{before}{values[tag]}{after}" for name, before, tag, after in differing}

    return same, fill
