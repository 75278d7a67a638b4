"""What a provider is tried out with: a few words of each channel, to one address."""

from collections.abc import Mapping

from domain.channels import Channel
from domain.short_templates import ShortTemplate, checked
from domain.templates import Template

_WORDS = "This is a test. If you can read it, messages by this provider reach you."

SAID: Mapping[Channel, Template | ShortTemplate] = {
    Channel.EMAIL: Template("A test from {{ workspace.name }}", f"<p>{_WORDS}</p>"),
    Channel.SMS: checked(Channel.SMS, {"text": _WORDS}),
    # Strangers may be written to by approved templates alone: this is Meta's sample, which every account has.
    Channel.WHATSAPP: checked(Channel.WHATSAPP, {"template": "hello_world", "language": "en_US"}),
    Channel.PUSH: checked(Channel.PUSH, {"title": "A test", "body": _WORDS}),
    Channel.WEBHOOK: checked(Channel.WEBHOOK, {"payload": {"test": _WORDS}}),
}
