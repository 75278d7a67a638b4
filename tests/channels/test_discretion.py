"""What a provider repeats of a credential is in no outcome and in no answer of ours."""

from base64 import b64encode
from urllib.parse import quote

import pytest
from pydantic import SecretStr, ValidationError

from channels import whatsapp
from channels.contract import OutcomeKind
from channels.discretion import STRUCK, Secrets
from channels.smtp_account import KIND as SMTP
from channels.webhook import WebhookSettings
from lab.http_server import Answer
from tests.channels.calls_support import ALetter, a_site, an_account, envelope
from tests.channels.mail_support import settings_of

TOKEN = "EAAGsecret+/of=ours"
LONG = "k" * 40


def settings(token: str) -> whatsapp.WhatsAppSettings:
    return whatsapp.WhatsAppSettings(
        phone_number_id="106540352242922",
        access_token=SecretStr(token),
        app_secret=SecretStr("the app's secret"),
        verify_token=SecretStr("our word"),
    )


@pytest.mark.parametrize("quoted", [TOKEN, quote(TOKEN, safe=""), "the app's secret"])
async def test_what_a_provider_quotes_is_struck(quoted: str) -> None:
    no = Answer(400, {"error": {"message": f"Malformed access token {quoted}", "code": 190}})
    async with a_site(no) as site, an_account(whatsapp.KIND, settings(TOKEN), site.url) as account:
        said = await account.check()
        [outcome] = await account.send(ALetter(), [envelope(1, "+4917012345678")])

    assert f"Malformed access token {STRUCK}" in said
    assert outcome.kind is OutcomeKind.RETRY
    assert outcome.reason == f"sender: 190 Malformed access token {STRUCK}"


async def test_all_else_of_an_account_is_as_it_was() -> None:
    async with an_account(whatsapp.KIND, settings(TOKEN)) as account:
        assert (account.name, account.capabilities) == ("whatsapp", whatsapp.CAPABILITIES)
        assert account.settings.phone_number_id == "106540352242922"
        assert getattr(account, "no such thing", None) is None


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (f"Not {LONG}.", f"Not {STRUCK}."),
        (f"Not {LONG}{LONG}", f"Not {STRUCK}{STRUCK}"),
        (f"It was cut: {LONG[:9]}", f"It was cut: {STRUCK}"),
        ("It was ckkk", "It was ckkk"),
        ("-----BEGIN KEY-----", "-----BEGIN KEY-----"),
        ("Not MIIEvQIBADANBgkq, and a", f"Not {STRUCK}, and a"),
        (
            "Unknown AUTH PLAIN " + b64encode(f"\0ada\0{LONG}".encode()).decode(),
            f"Unknown AUTH PLAIN {STRUCK}",
        ),
        ("Basic " + b64encode(f"ada:{LONG}".encode()).decode(), f"Basic {STRUCK}"),
        ("Not abc", "Not abc"),
    ],
)
def test_a_secret_is_struck_however_it_is_written(said: str, heard: str) -> None:
    secrets = Secrets([LONG, "-----BEGIN\nMIIEvQIBADANBgkq\n", "abc", ""], "ada")

    assert secrets.struck_from(said) == heard


def test_a_token_that_no_header_holds_is_refused_and_one_with_a_newline_mended() -> None:
    assert settings(f"{TOKEN}\n").access_token.get_secret_value() == TOKEN
    with pytest.raises(ValidationError, match="as it was shown") as refused:
        settings(f"{TOKEN}\nX-Other: 1")
    assert TOKEN not in str(refused.value)


def test_a_header_of_the_customers_own_is_one_line() -> None:
    own = {"secret": "whsec_" + "A" * 44, "header_name": "X-Key"}
    with pytest.raises(ValidationError, match="one line") as refused:
        WebhookSettings.model_validate({**own, "header_value": f"{TOKEN}\r\nX-Other: 1"})
    assert TOKEN not in str(refused.value.errors(include_input=False))
    kept = WebhookSettings.model_validate({**own, "header_value": f"Bearer {TOKEN}\n"}).header_value
    assert kept
    assert kept.get_secret_value() == f"Bearer {TOKEN}"


async def test_a_mail_server_that_repeats_the_password_is_not_repeated() -> None:
    given = settings_of(SMTP, host="127.0.0.1", port=9, user="ada", password="127.0.0.1")
    async with an_account(SMTP, given) as account:
        said = await account.check()

    assert "127.0.0.1" not in said
    assert STRUCK in said
