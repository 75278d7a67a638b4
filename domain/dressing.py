"""What we do to a marketer's HTML, once per version of a template: styles inlined, a preheader, a footer
with the way out, a text part. Liquid in, Liquid out: each Liquid tag is put aside behind a mark meanwhile.

The HTML is left as it was written, but for what is put in: only where there is a <style> is it parsed and
written anew, and then only if that neither lost nor moved anything of Liquid's.
"""

import html
import re

from css_inline import CSSInliner, InlineError
from liquid.lex import compile_liquid_rules
from liquid.token import TOKEN_CONTENT, TOKEN_OUTPUT

from domain.holes import CLOSE, MARKS, OPEN, TOKEN
from domain.links import TOKENS, attribute

_LIQUID = compile_liquid_rules()
_INLINER = CSSInliner(
    keep_style_tags=True,  # For what can't be inlined: @media, :hover.
    remove_inlined_selectors=True,
    load_remote_stylesheets=False,  # Nothing is fetched, and no file read, for a stylesheet that is linked.
)
_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)
_BODY = re.compile(r"<body\b", re.IGNORECASE)
_BODY_ENDS = re.compile(r"</(body|html)\b", re.IGNORECASE)
_TAG_NAME = re.compile(r"</?([a-zA-Z][a-zA-Z0-9:-]*)")
# Tags that the HTML standard lets a writer leave out; a parser adds them.
_OPTIONAL = {
    "html",
    "head",
    "body",
    "tbody",
    "style",
    "link",
    "p",
    "li",
    "td",
    "th",
    "tr",
    "dd",
    "dt",
    "option",
}
_VOID = {"br", "img", "hr", "meta", "link", "input", "col", "area", "wbr", "source", "!doctype"}
_DEEPEST = 1500  # The inliner recurses in native code: some thousands would end the process.
_FOR_HTML_ONLY = re.compile(r"\|\s*(escape|escape_once|newline_to_br|safe)\b\s*(?=[|}-])")

UNSUBSCRIBE_HTML = (
    '<div style="margin:24px 0;font:12px/18px sans-serif;color:#666666;text-align:center">{}'
    '<a href="{{{{ unsubscribe_url }}}}" style="color:#666666">Unsubscribe</a></div>'
)
POSTAL_HTML = "{{ workspace.postal_address | escape | newline_to_br }}<br>"
_PREHEADER = (
    '<div style="display:none;font-size:1px;line-height:1px;max-height:0;max-width:0;opacity:0;'
    'overflow:hidden;mso-hide:all">{}</div>'
)


class Aside:
    """Liquid tags put aside: `text` has OPEN number CLOSE where they stood."""

    def __init__(self, source: str) -> None:
        self.units: list[str] = []
        self.controls: set[int] = set()  # The numbers of those that steer and print nothing themselves.
        said: list[str] = []
        comment: list[str] = []
        depth = 0
        for match in _LIQUID.finditer(source):
            unit, kind = match.group(), match.lastgroup
            tag = match["name"] if kind == "TAG" else None
            depth += (tag == "comment") - (tag == "endcomment" and depth > 0)
            if depth or tag == "endcomment":
                comment.append(unit)
                if depth:
                    continue
                unit = "".join(comment)
                comment.clear()
            elif kind == TOKEN_CONTENT:
                said.append(unit)
                continue
            if kind != TOKEN_OUTPUT:
                self.controls.add(len(self.units))
            said.append(f"{OPEN}{len(self.units)}{CLOSE}")
            self.units.append(unit)
        self.text = "".join(said)

    def back(self, text: str) -> str:
        """The Liquid source for `text`, which may have any of the marks, also more than once."""
        # What looks like Liquid now was an entity before, and must not come alive.
        text = text.replace("{{", "{{ '{{' }}") if "{{" in text else text
        text = re.sub(r"\{%", "{{ '{%' }}", text)
        return MARKS.sub(lambda mark: self.units[int(mark[1])], text)


def inlined(source: str) -> str:
    """`source` with its <style> rules as style attributes, for clients that ignore style sheets."""
    if "<style" not in source.lower():
        return source
    aside = Aside(source)
    if _deepest(aside.text) > _DEEPEST:
        return source
    wrapped: list[str] = []
    end = 0
    for token in TOKENS.finditer(aside.text):
        if token["raw"] and _numbers(token["raw"]) & aside.controls:
            return source  # A style sheet that is steered by Liquid is left alone.
        wrapped += [_as_comments(aside.text[end : token.start()], aside.controls), token.group()]
        end = token.end()
    wrapped.append(_as_comments(aside.text[end:], aside.controls))
    try:
        result = _INLINER.inline("".join(wrapped))
    except InlineError:
        return source
    result = re.sub(f'(?:<!--)?({OPEN}\\d+{CLOSE})(?:-->|="")?', r"\1", result)
    if "<tbody" not in source.lower():
        result = re.sub(r"</?tbody>", "", result)
    if doctype := _DOCTYPE.match(source):
        result = _DOCTYPE.sub(lambda _: doctype.group().strip(), result, count=1)
    kept = _order(aside.text, aside.controls) == _order(result, aside.controls)
    return aside.back(result) if kept else source


def _deepest(markup: str) -> int:
    """How deep elements may come to stand within each other: more than they do where tags are left open."""
    void = set() if re.search("<(svg|math)", markup, re.IGNORECASE) else _VOID
    within: list[str] = []
    deepest = 0
    for token in TOKENS.finditer(markup):
        if not token["tag"] or not (name := _TAG_NAME.match(token["tag"])):
            continue
        if not token["tag"].startswith("</"):
            if name[1].lower() not in void:
                within.append(name[1].lower())
                deepest = max(deepest, len(within))
        elif within and within[-1] == name[1].lower():
            within.pop()
    return deepest


def _numbers(text: str) -> set[int]:
    return {int(mark[1]) for mark in MARKS.finditer(text)}


def _as_comments(text: str, controls: set[int]) -> str:
    """Between tags, a steering tag becomes a comment: a parser moves text out of tables, not comments."""
    return MARKS.sub(
        lambda mark: f"<!--{mark.group()}-->" if int(mark[1]) in controls else mark.group(), text
    )


def _order(text: str, controls: set[int]) -> list[str]:
    """What inlining must not change: the marks in order and, where Liquid steers, the tags between them."""
    said: list[str] = []
    outside = re.sub(r"(?is)<style\b.*?(</style\s*>|\Z)", "", text)
    for token in re.finditer(f"{OPEN}(\\d+){CLOSE}|</?[a-zA-Z][a-zA-Z0-9:-]*", outside):
        if token[1] is not None:
            if int(token[1]) in controls:
                said.append(token[1])
        elif controls and token.group().strip("</").lower() not in _OPTIONAL:
            said.append(token.group().lower())
    # A value may be written more often, where a rule of the style sheet held it, but none may be lost.
    return [*said, *sorted({mark[1] for mark in MARKS.finditer(text)})]


def with_preheader(source: str, preheader: str) -> str:
    """`source` with a hidden first line, which mail programs show beside the subject."""
    aside = Aside(preheader)
    hidden = _PREHEADER.format(aside.back(html.escape(aside.text, quote=False)))
    opening = Aside(source)
    for token in TOKENS.finditer(opening.text):
        if token["tag"] and _BODY.match(token["tag"]):
            return (
                opening.back(opening.text[: token.end()]) + hidden + opening.back(opening.text[token.end() :])
            )
    return hidden + source


def before_end(markup: str, more: str) -> str:
    """`markup` with `more` as the last thing in its body."""
    ends = [each.start() for each in TOKENS.finditer(markup) if each["tag"] and _BODY_ENDS.match(each["tag"])]
    place = ends[-2] if len(ends) > 1 else ends[0] if ends else len(markup)
    return markup[:place] + more + markup[place:]


def with_footer(source: str, *, unsubscribe: bool, address: bool) -> str:
    """`source` with the way out, the postal address, or both at its end."""
    if not (unsubscribe or address):
        return source
    postal = POSTAL_HTML if address else ""
    footer = UNSUBSCRIBE_HTML.format(postal) if unsubscribe else f"<div>{postal}</div>"
    aside = Aside(source)
    added = Aside(footer)
    marks = MARKS.sub(lambda mark: f"{OPEN}{int(mark[1]) + len(aside.units)}{CLOSE}", added.text)
    aside.units += added.units
    return aside.back(before_end(aside.text, marks))


def shown(said: str) -> str:
    """What a reader of this HTML can see or follow, in one line: without comments and style sheets."""
    return TOKENS.sub(lambda token: _seen(token.group()) if token["tag"] else " ", said)


def _seen(tag: str) -> str:
    return tag if TOKEN in tag else " "


def in_one_line(text: str) -> str:
    return " ".join(html.unescape(text).split())


def as_text(source: str) -> str:
    """The Liquid source of a text part that says what this HTML says, its links written out."""
    aside = Aside(source)
    text = "".join(_Reader(aside.text).said)
    # Only from where blanks begin: a long row of them would be looked through from each.
    text = re.sub(r"(?:(?<![ \t])[ \t]+)?\n[ \t]*", "\n", text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    aside.units = [_FOR_HTML_ONLY.sub("", unit) for unit in aside.units]
    return aside.back(text) + "\n"


_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "blockquote", "hr"})
_LINES = frozenset({"div", "tr", "br", "section", "article", "header", "footer", "pre", "center"})


class _Reader:
    """Reads HTML aloud, in the source's order and never as a tree: Liquid's marks stay where they stood."""

    def __init__(self, markup: str) -> None:
        self.said: list[str] = []
        self._link = ""
        self._link_begins = 0
        end = 0
        for token in TOKENS.finditer(markup):
            self._text(markup[end : token.start()])
            if token["tag"] and (name := _TAG_NAME.match(token["tag"])):
                tag = name[1].lower()
                if token["tag"].startswith("</"):
                    self._ends(tag)
                else:
                    self._begins(tag, token["tag"])
            end = token.end()
        self._text(markup[end:])

    def _begins(self, name: str, tag: str) -> None:
        self._break(name)
        if name == "li":
            self.said.append("\n- ")
        elif name == "img":
            self._text(attribute(tag, "alt"))
        elif name == "a":
            self._link, self._link_begins = attribute(tag, "href"), len(self.said)

    def _ends(self, name: str) -> None:
        if name in ("td", "th"):
            self.said.append(" ")
        elif name == "a" and self._link:
            text = "".join(self.said[self._link_begins :]).strip()
            address = self._link.removeprefix("mailto:").removeprefix("tel:")
            if not address.startswith("#") and address != text:
                self.said.append(f" ({address})" if text else address)
            self._link = ""
        self._break(name)

    def _text(self, markup: str) -> None:
        text = re.sub(r"[ \t\r\n\f]+", " ", html.unescape(markup))
        if text.startswith(" ") and (not self.said or self.said[-1].endswith((" ", "\n"))):
            text = text[1:]
        if text:
            self.said.append(text)

    def _break(self, name: str) -> None:
        if name in _PARAGRAPHS:
            self.said.append("\n\n")
        elif name in _LINES:
            self.said.append("\n")
