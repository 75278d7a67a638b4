"""What providers that fill in mails themselves have in common: tags that can't be mistaken, and headers."""

from collections.abc import Callable, Mapping, Sequence

from channels.letters import Mail, Parts

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
