"""A workflow of n8n as a picture, from where its nodes stand. The same workflow gives the same picture."""

from html import escape
from textwrap import wrap
from typing import Any

WIDTH, HEIGHT = 150, 64
MARGIN = 30
WORDS = {  # What a kind of node is called under its name.
    "n8n-nodes-base.webhook": "Webhook",
    "n8n-nodes-base.scheduleTrigger": "Schedule",
    "n8n-nodes-base.manualTrigger": "By hand",
    "n8n-nodes-base.set": "Edit fields",
    "n8n-nodes-base.extractFromFile": "Extract from file",
    "n8n-nodes-base.crypto": "Crypto",
    "n8n-nodes-base.code": "Code",
    "n8n-nodes-base.if": "If",
    "n8n-nodes-base.respondToWebhook": "Respond",
    "n8n-nodes-base.httpRequest": "HTTP request",
    "n8n-nodes-base.emailSend": "Send mail",
    "n8n-nodes-base.splitOut": "Split out",
}
COLOURS = {
    "Webhook": "#c2410c",
    "Schedule": "#c2410c",
    "By hand": "#c2410c",
    "If": "#15803d",
    "Code": "#b45309",
}
COLOURS |= {"HTTP request": "#1d4ed8", "Send mail": "#0f766e", "Respond": "#7c3aed"}
PLAIN = "#475569"
STYLE = (
    "text { font: 12px system-ui, sans-serif; text-anchor: middle; fill: #1e293b } "
    ".kind { font-size: 10px; fill: #64748b } .way { font-size: 10px; fill: #15803d } "
    "path { fill: none; stroke: #94a3b8; stroke-width: 1.5 } rect { fill: #fff; stroke-width: 1.5 }"
)


def drawn(workflow: dict[str, Any]) -> str:
    """An SVG with a box for each node and a line for each connection."""
    nodes = {node["name"]: node for node in workflow["nodes"]}
    left = min(node["position"][0] for node in nodes.values()) - MARGIN
    top = min(node["position"][1] for node in nodes.values()) - MARGIN
    right = max(node["position"][0] for node in nodes.values()) + WIDTH + MARGIN
    bottom = max(node["position"][1] for node in nodes.values()) + HEIGHT + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left} {top} {right - left} {bottom - top}">',
        f"<title>{escape(workflow['name'])}</title>",
        f"<style>{STYLE}</style>",
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" stroke="none"/>',
    ]
    for origin, by_kind in workflow["connections"].items():
        ways = by_kind["main"]
        for nth, targets in enumerate(ways):
            word = ("true", "false")[nth] if len(ways) == 2 or kind_of(nodes[origin]) == "If" else ""
            for target in targets or ():
                lines += connection(nodes[origin]["position"], nodes[target["node"]]["position"], nth, word)
    for node in workflow["nodes"]:
        lines += box(node)
    return "\n".join([*lines, "</svg>", ""])


def kind_of(node: dict[str, Any]) -> str:
    return WORDS[node["type"]]


def connection(origin: list[int], target: list[int], way: int, word: str) -> list[str]:
    x, y = origin[0] + WIDTH, origin[1] + HEIGHT / 2 + (way * 16 - 8 if word else 0)
    to_x, to_y = target[0], target[1] + HEIGHT / 2
    middle = (x + to_x) / 2
    lines = [f'<path d="M {x:g} {y:g} C {middle:g} {y:g}, {middle:g} {to_y:g}, {to_x:g} {to_y:g}"/>']
    if word:
        lines.append(f'<text class="way" x="{x + 18:g}" y="{y - 4 + way * 14:g}">{word}</text>')
    return lines


def box(node: dict[str, Any]) -> list[str]:
    x, y = node["position"]
    kind = kind_of(node)
    middle = x + WIDTH / 2
    said = wrap(node["name"], 22)[:2]
    first = y + HEIGHT / 2 - 4 - 7 * (len(said) - 1)
    size = f'width="{WIDTH}" height="{HEIGHT}" rx="8" stroke="{COLOURS.get(kind, PLAIN)}"'
    return [
        f'<rect x="{x}" y="{y}" {size}/>',
        *(
            f'<text x="{middle:g}" y="{first + 14 * nth:g}">{escape(line)}</text>'
            for nth, line in enumerate(said)
        ),
        f'<text class="kind" x="{middle:g}" y="{y + HEIGHT - 10:g}">{escape(kind)}</text>',
    ]
