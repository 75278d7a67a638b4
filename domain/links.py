"""The links of a mail: which are followed through us, and where a click on one may go."""

import html
import re
from collections.abc import Iterator
from urllib.parse import quote, urlsplit, urlunsplit

from domain.holes import OPEN, TOKEN
from domain.skeletons import escaped

# Comments (Outlook's conditional ones among them), elements whose content is no markup, and tags.
# A tag may not contain "<" outside quotes: that keeps the search linear on whatever comes in.
TOKENS = re.compile(
    r"(?P<comment><!--.*?(?:-->|\Z))"
    r"|(?P<raw><(?P<name>script|style|title|textarea|xmp)\b(?:[^\"'<>]|\"[^\"]*\"|'[^']*')*>"
    r".*?(?:</(?P=name)\s*>|\Z))"
    r"|(?P<tag></?[a-zA-Z!?](?:[^\"'<>]|\"[^\"]*\"|'[^']*')*>)",
    re.DOTALL | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"([^\s=>\"'/]+)(?:\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s>\"']+))?")
_ANCHOR = re.compile(r"<a[\s/]", re.IGNORECASE)
_FOLLOWED = re.compile(f"\\s*(https?://|{OPEN})", re.IGNORECASE)
_SCHEME = re.compile(r"([^/?#]*?):")
_HARMLESS = {"http", "https", "mailto", "tel", "sms"}
_UNWANTED = re.compile("[\x00-\x20\x7f-\xa0]+")


def attribute(tag: str, name: str) -> str:
    """The unescaped value of an attribute of a start tag; empty when there is none."""
    for found in _ATTRIBUTE.finditer(tag, 2):
        if found[1].lower() == name and found[2] is not None:
            return html.unescape(_bare(found[2])).strip()
    return ""


def _bare(quoted: str) -> str:
    return quoted[1:-1] if quoted[0] in "\"'" else quoted


def anchors(markup: str) -> Iterator[tuple[int, int, str]]:
    """The followed links of a piece of HTML: where the quoted href begins and ends, and its URL, unescaped.

    Only http and https links are followed, and links that a hole begins; never mailto:, tel:, #anchors
    and whatever carries the message's token already (the way to unsubscribe).
    """
    for token in TOKENS.finditer(markup):
        tag = token["tag"]
        if not tag or not _ANCHOR.match(tag):
            continue
        for found in _ATTRIBUTE.finditer(tag, 2):
            if found[1].lower() != "href" or found[2] is None:
                continue
            url = html.unescape(_bare(found[2])).strip()
            if _FOLLOWED.match(url) and TOKEN not in url:
                yield token.start() + found.start(2), token.start() + found.end(2), url
            break


def numbered(markup: str, first: int, prefix: str) -> tuple[str, int]:
    """`markup` with each followed link replaced by `prefix` and its number, counted from `first`, and the
    first number that is still free."""
    said, end, number = [], 0, first
    for begins, ends, _ in anchors(markup):
        said.append(f'{markup[end:begins]}"{prefix}{number}"')
        end, number = ends, number + 1
    return "".join(said) + markup[end:], number


def destination(url: str) -> str | None:
    """`url` as a redirect may use it, in ASCII, or None unless it is a plain http or https address.

    Refused are other schemes (javascript:), addresses without a host, and names before an @, which are
    there to make one host look like another.
    """
    try:
        parts = urlsplit(url.strip().replace("\\", "/"))
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            return None
        host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    except ValueError:  # UnicodeError is one: no such host, no such port.
        return None
    if _UNWANTED.search(host) or re.search(r"[^\w.:\[\]-]", host):
        return None
    path, query, fragment = (
        quote(part, safe="%/:=&?~+!$,;'@()*[]", errors="replace")
        for part in (parts.path, parts.query, parts.fragment)
    )
    return urlunsplit((parts.scheme, host, path, query, fragment))


def harmless(value: str) -> str:
    """A value that begins an href, or "#" when it would bring a scheme that runs something."""
    scheme = _SCHEME.match(_UNWANTED.sub("", value))
    return "#" if scheme and scheme[1].lower() not in _HARMLESS else value


def harmless_text(value: str) -> str:
    return escaped(harmless(value))


def harmless_markup(value: str) -> str:
    return escaped(harmless(html.unescape(value)))
