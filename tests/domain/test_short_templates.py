"""Templates of the channels beside email: their shapes, their holes, and what one person gets."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from domain import short_templates
from domain.channels import Channel
from domain.errors import Invalid
from domain.holes import TemplateError
from domain.short_templates import Compiled, checked, variables_required

TOKEN = "t" * 59
ADA = {"first_name": "Ada", "points": 7}


def compiled(channel: Channel, **content: Any) -> Compiled:
    return short_templates.compile(
        checked(channel, content), workspace_name="Shop & Sons", public_url="https://mail.example/"
    )


def shown(made: Compiled, **variables: Any) -> dict[str, Any]:
    return short_templates.show(made, short_templates.render(made, variables), TOKEN)


def faults(channel: Channel, content: dict[str, Any]) -> list[str | None]:
    with pytest.raises(Invalid) as caught:
        short_templates.compile(checked(channel, content), workspace_name="", public_url="")
    return [each.field for each in (caught.value, *caught.value.also)]


def test_a_text_is_filled_for_a_person_and_shows_the_way_out() -> None:
    made = compiled(Channel.SMS, text="Hi {{ first_name }}! {{ workspace.name }} {{ unsubscribe_url }}")

    assert shown(made, **ADA) == {"text": f"Hi Ada! Shop & Sons https://mail.example/u/{TOKEN}"}
    assert short_templates.render(made, ADA) == ("Ada",)


def test_a_way_out_within_a_block_has_its_token_too() -> None:
    made = compiled(Channel.SMS, text="{% if points > 5 %}{{ unsubscribe_url }}{% endif %}")

    assert shown(made, **ADA) == {"text": f"https://mail.example/u/{TOKEN}"}


def test_text_is_never_escaped() -> None:
    assert shown(compiled(Channel.SMS, text="{{ a }}"), a='<b> & "c"') == {"text": '<b> & "c"'}


def test_a_whatsapp_template_has_parameters_that_are_filled_and_a_name_that_is_not() -> None:
    made = compiled(Channel.WHATSAPP, template="winter", language="de", parameters=["{{ first_name }}", "x"])

    assert shown(made, **ADA) == {"template": "winter", "language": "de", "parameters": ["Ada", "x"]}


def test_a_push_has_a_title_and_more() -> None:
    made = compiled(Channel.PUSH, title="{{ first_name }}", body="b", url="https://x.example/{{ points }}")

    assert shown(made, **ADA) == {"title": "Ada", "body": "b", "url": "https://x.example/7"}


def test_a_payloads_strings_are_filled_wherever_they_stand_and_the_rest_stays() -> None:
    payload = {
        "who": "{{ first_name }}",
        "n": 1,
        "deep": [{"a/b": "{{ points }}"}, None, True],
        "{{ k }}": "",
    }
    made = compiled(Channel.WEBHOOK, payload=payload)

    assert shown(made, **ADA) == {
        "payload": {"who": "Ada", "n": 1, "deep": [{"a/b": "7"}, None, True], "{{ k }}": ""}
    }


def test_a_plain_variable_is_one_hole_wherever_it_stands() -> None:
    made = compiled(Channel.PUSH, title="{{ first_name }}", body="{{ first_name }}")

    assert short_templates.render(made, ADA) == ("Ada",)


@pytest.mark.parametrize(
    ("channel", "content", "pointers"),
    [
        (Channel.SMS, {}, ["/content/text"]),
        (Channel.SMS, {"text": ""}, ["/content/text"]),
        (Channel.SMS, {"text": 1}, ["/content/text"]),
        (Channel.SMS, {"text": "x", "subject": "y"}, ["/content/subject"]),
        (Channel.SMS, {"text": "{% if %}"}, ["/content/text"]),
        (Channel.WHATSAPP, {}, ["/content"]),
        (Channel.WHATSAPP, {"text": "x", "template": "y"}, ["/content"]),
        (Channel.WHATSAPP, {"text": "x", "parameters": ["y"]}, ["/content"]),
        (Channel.WHATSAPP, {"template": "No Such Name"}, ["/content/template"]),
        (Channel.WHATSAPP, {"template": "x", "language": "english"}, ["/content/language"]),
        (Channel.WHATSAPP, {"template": "x", "parameters": ["a", "{{ b"]}, ["/content/parameters/1"]),
        (Channel.PUSH, {"title": "{% x %}", "body": "{{ a | b }}"}, ["/content/title", "/content/body"]),
        (Channel.PUSH, {"body": "x"}, ["/content/title"]),
        (Channel.WEBHOOK, {"payload": []}, ["/content/payload"]),
        (Channel.WEBHOOK, {"payload": {"a": {"b/c": ["{{ d"]}}}, ["/content/payload/a/b~1c/0"]),
        (Channel.WEBHOOK, {"payload": {"a": "x" * 70_000}}, ["/content/payload"]),
        (Channel.WEBHOOK, {"payload": {"a": ["x"] * 501}}, ["/content/payload"]),
        (Channel.WEBHOOK, {"payload": {"a": 2**70}}, ["/content/payload"]),
    ],
)
def test_what_is_wrong_is_pointed_at(channel: Channel, content: dict[str, Any], pointers: list[str]) -> None:
    assert faults(channel, content) == pointers


def test_a_payload_has_an_end_to_its_depth() -> None:
    payload: dict[str, Any] = {}
    for _ in range(30):
        payload = {"a": payload}

    assert faults(Channel.WEBHOOK, {"payload": payload}) == ["/content/payload"]


def test_a_template_says_what_each_message_needs() -> None:
    text = "{{ a }} {{ b | default: 'x' }} {{ phone }} {{ workspace.name }} {{ email }}"

    assert variables_required(checked(Channel.SMS, {"text": text})) == {"a", "email"}
    push = checked(Channel.PUSH, {"title": "{{ phone }}", "body": "{{ a }}"})
    assert variables_required(push) == {"a", "phone"}


def test_who_lacks_a_variable_is_told_so() -> None:
    with pytest.raises(TemplateError, match="first_name"):
        shown(compiled(Channel.SMS, text="{{ first_name }}"))


@given(some.text(max_size=20), some.text(alphabet="abc }", max_size=8))
def test_what_is_no_liquid_is_said_as_it_was_written(value: str, plain: str) -> None:
    if not plain:
        return
    made = compiled(Channel.SMS, text=plain + "{{ a | default: '' }}")

    assert shown(made, a=value)["text"] == plain + value
