"""What sending a campaign takes, before it is sent: text messages are paid for by the segment."""

import asyncio
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID

from pydantic import Field

from api.callers import needs
from api.deps import Db
from api.manners import Feature
from api.routes.previews import draft_of
from api.shapes import Out, example
from api.stack import Opened
from domain import short_templates
from domain.channels import Channel
from domain.holes import TemplateError
from domain.money import shown
from domain.roles import Permission
from domain.segments import parse
from domain.texts import size
from domain.tokens import LENGTH
from models.campaigns import Campaign
from models.queries import rows, segments, segments_written, text_costs, workspaces
from models.segments import Segment

router = Feature(prefix="/campaigns", tags=["campaigns"])

SAMPLE = 200  # People whose texts are written to count their segments.


class CountryCost(Out):
    prefix: str | None = Field(description="How their numbers begin; null where no price is known.")
    people: int
    price: str | None = Field(description="Of one segment.")
    cost: str | None = Field(description="An estimate, as all of it is.")


class CampaignCost(Out):
    """An estimate: segments are counted in the texts of a sample, people are all whom it would go to now."""

    channel: Channel
    people: int | None = Field(
        description="Who have a number, consent where it is needed, and are not suppressed. "
        "Null on other channels than sms, where nothing is paid for by the segment."
    )
    sample: int | None = Field(description="Of so many people the texts were written, 200 at most.")
    segments_each: float | None = Field(description="On average over the sample.")
    segments_most: int | None = Field(description="In the longest text of the sample.")
    segments: int | None = Field(description="For all people.")
    cost: str | None = Field(description="Null where the price for somebody is not known.")
    currency: str | None
    provider: str | None = Field(description="The account whose prices these are: the first route's.")
    countries: list[CountryCost]

    model_config = example(
        {
            "channel": "sms",
            "people": 1204,
            "sample": 200,
            "segments_each": 1.25,
            "segments_most": 2,
            "segments": 1505,
            "cost": "122.06",
            "currency": "USD",
            "provider": "Our Twilio",
            "countries": [{"prefix": "+49", "people": 1204, "price": "0.0811", "cost": "122.06"}],
        }
    )


@router.get("/{campaign_id}/cost", dependencies=[needs(Permission.CAMPAIGNS_READ)])
async def campaign_cost(campaign_id: UUID, opened: Opened, db: Db) -> CampaignCost:
    """What a campaign of texts will take and cost, by country. Prices stand in the provider's settings."""
    campaign = await rows.get(db, Campaign, campaign_id)
    draft = await draft_of(db, campaign_id, opened.settings.public_url)
    if draft.channel is not Channel.SMS or not isinstance(draft.compiled, short_templates.Compiled):
        nothing: dict[str, Any] = dict.fromkeys(CampaignCost.model_fields)
        return CampaignCost.model_validate(nothing | {"channel": draft.channel, "countries": []})
    segment = await rows.get(db, Segment, campaign.segment_id)
    rule = await segments_written.resolved(db, parse(campaign.rule or segment.rule))
    workspace = await workspaces.get(db, campaign.workspace_id)
    audience = segments.audience(rule, workspace, opened.clock.now())
    known = await text_costs.prices(db, campaign.message_class)
    prices = known.by_prefix if known else {}
    found = await text_costs.by_prefix(db, audience, campaign.message_class, prices)
    counts = await _segments(
        draft.compiled, await text_costs.sample(db, audience, campaign.message_class, SAMPLE)
    )
    each = Decimal(sum(counts)) / len(counts) if counts else None
    countries = [
        CountryCost(
            prefix=prefix,
            people=people,
            price=shown(prices[prefix]) if prefix else None,
            cost=_cents(prices[prefix] * each * people) if prefix and each is not None else None,
        )
        for prefix, people in sorted(found.items(), key=lambda item: (-item[1], item[0] or ""))
    ]
    people = sum(found.values())
    priced = all(country.cost for country in countries) and each is not None
    total = sum((prices[prefix] * each * n for prefix, n in found.items() if prefix and each), Decimal())
    return CampaignCost(
        channel=draft.channel,
        people=people,
        sample=len(counts),
        segments_each=round(float(each), 2) if each is not None else None,
        segments_most=max(counts) if counts else None,
        segments=int((each * people).to_integral_value(ROUND_HALF_UP)) if each is not None else None,
        cost=_cents(total) if priced else None,
        currency=known.currency if known else None,
        provider=known.provider if known else None,
        countries=countries,
    )


async def _segments(
    compiled: short_templates.Compiled, people: Sequence[tuple[dict[str, Any], str]]
) -> list[int]:
    """Of each text that can be written; the others will be skipped, and cost nothing."""
    counts = []
    for attributes, phone in people:
        await asyncio.sleep(0)  # Others have their turn in between.
        try:
            holes = short_templates.render(compiled, {**attributes, "phone": phone})
        except TemplateError:
            continue
        counts.append(size(short_templates.show(compiled, holes, "t" * LENGTH)["text"].strip()).segments)
    return counts


def _cents(amount: Decimal) -> str:
    return shown(amount.quantize(Decimal("0.01"), ROUND_HALF_UP))
