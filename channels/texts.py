"""Letters of the channels beside email: a text, a WhatsApp message, a push or a webhook, as each gets it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from channels.contract import Envelope
from channels.letters import Said
from domain.short_templates import Compiled, show
from domain.texts import LONGEST
from domain.tokens import Tokens


class Empty(Exception):
    """Nothing is left to say, or more than the channel takes; the text says which, and the way out."""


@dataclass(frozen=True)
class ShortLetter:
    """One template as one workspace sends it. Which of `text`, `said` and `payload` it has is its channel's.

    It is `channels.letters.Text`, `WhatsApp` or `Payload`.
    """

    compiled: Compiled
    tokens: Tokens
    workspace_id: UUID

    def text(self, envelope: Envelope) -> str:
        text = str(self._shown(envelope)["text"]).strip()
        if not text:
            raise Empty("the text is empty for this profile; give its variables defaults")
        if len(text) > LONGEST:
            raise Empty(f"the text has {len(text):,} characters for this profile; {LONGEST:,} are the most")
        return text

    def said(self, envelope: Envelope) -> Said:
        shown = self._shown(envelope)
        if shown.get("template") is None:
            return Said(None, shown.get("language", "en_US"), [], self.text(envelope))
        # Meta takes no line breaks in parameters, no tabs, and no runs of spaces.
        parameters = [" ".join(each.split()) for each in shown.get("parameters", [])]
        if not all(parameters):
            raise Empty("a parameter is empty for this profile; give its variables defaults")
        return Said(shown["template"], shown["language"], parameters, None)

    def payload(self, envelope: Envelope) -> bytes:
        shown = self._shown(envelope)
        return orjson.dumps(shown.get("payload", shown))

    def _shown(self, envelope: Envelope) -> dict[str, Any]:
        return show(self.compiled, envelope.holes, self.tokens.sign(self.workspace_id, envelope.id))
