import pytest
from httpx2 import AsyncClient

from tests.api.support import V1, a_template, refusal

AT = f"{V1}/templates"


async def test_a_template_says_which_variables_every_message_needs(api: AsyncClient) -> None:
    html = "<p>{{ first_name }}, {{ city | default: 'somewhere' }} {% if vip %}{{ tier }}{% endif %}</p>"

    made = await api.post(AT, json={"name": "x", "subject": "{{ shop }}", "html": html})

    assert made.status_code == 201
    assert made.json()["variables"] == ["first_name", "shop"]


@pytest.mark.parametrize(
    ("part", "source", "line"),
    [
        ("html", "<p>\n{{ first_name </p>", "Line 2"),
        ("subject", "{% if %}", "Line 1"),
        ("text", "{{ a | b }}", ""),
    ],
)
async def test_a_fault_in_a_template_is_pointed_at_with_its_line(
    api: AsyncClient, part: str, source: str, line: str
) -> None:
    body = {"name": "x", "subject": "x", "html": "<p>x</p>", part: source}

    problem = refusal(await api.post(AT, json=body), 422)

    assert problem["errors"][0]["pointer"] == f"/{part}"
    assert line in problem["detail"]


async def test_all_parts_at_fault_are_pointed_at(api: AsyncClient) -> None:
    body = {"name": "x", "subject": "{% if %}", "html": "<p>\n{% include 'footer' %}", "text": "{{ a | b }}"}

    problem = refusal(await api.post(AT, json=body), 422)

    assert [error["pointer"] for error in problem["errors"]] == ["/subject", "/html", "/text"]
    assert problem["detail"] == "subject: Line 1 of the template: missing expression. (and 2 more)"
    assert problem["errors"][1]["detail"] == (
        "Line 2 of the template: the tag {% include %} is not available; take it out."
    )


@pytest.mark.parametrize(
    "source", ["{{ (1..500000000) | sum }}", "{{ 'abc' " + "| split: '' | sort | join " * 6000 + "}}"]
)
async def test_what_would_take_too_much_work_is_pointed_at(api: AsyncClient, source: str) -> None:
    body = {"name": "x", "subject": "x", "html": f"<p>{source}</p>"}

    problem = refusal(await api.post(AT, json=body), 422)

    assert problem["errors"][0]["pointer"] == "/html"


async def test_a_text_with_too_long_a_range_is_pointed_at(api: AsyncClient) -> None:
    body = {"name": "x", "channel": "sms", "content": {"text": "{{ (1..500000000) | sum }}"}}

    problem = refusal(await api.post(AT, json=body), 422)

    assert problem["errors"][0]["pointer"] == "/content/text"
    assert "end it sooner" in problem["detail"]


async def test_a_text_that_is_too_much_work_for_anybody_has_no_size(api: AsyncClient) -> None:
    source = "{% for i in (1..9999) %}{% for n in (1..1) %}{% if i == n %}{% endif %}{% endfor %}{% endfor %}"
    body = {"name": "x", "channel": "sms", "content": {"text": source * 3 + "Hello"}}

    made = await api.post(AT, json=body)

    assert (made.status_code, made.json()["sms"]) == (201, None)
    assert [each["sms"] for each in (await api.get(AT)).json()["items"]] == [None]


async def test_other_content_is_a_new_version_and_another_name_is_not(api: AsyncClient) -> None:
    template = await a_template(api)

    renamed = (await api.patch(f"{AT}/{template}", json={"name": "Renamed"})).json()
    rewritten = (await api.patch(f"{AT}/{template}", json={"subject": "Other"})).json()

    assert (renamed["version"], renamed["name"]) == (1, "Renamed")
    assert (rewritten["version"], rewritten["subject"], rewritten["name"]) == (2, "Other", "Renamed")
    assert (await api.get(AT)).json()["items"] == [rewritten]


async def test_a_faulty_change_changes_nothing(api: AsyncClient) -> None:
    template = await a_template(api)

    refusal(await api.patch(f"{AT}/{template}", json={"html": "{% for %}"}), 422)

    assert (await api.get(f"{AT}/{template}")).json()["version"] == 1


async def test_a_template_that_nothing_needs_can_be_deleted(api: AsyncClient) -> None:
    template = await a_template(api)

    assert (await api.delete(f"{AT}/{template}")).status_code == 204
    refusal(await api.get(f"{AT}/{template}"), 404)
