"""What stands in the way of a start, in sentences: for who asks for one, and for one whose time has come."""

from collections.abc import Collection, Mapping
from datetime import datetime
from types import MappingProxyType

from sqlalchemy.ext.asyncio import AsyncSession

from domain.channels import Channel, address_kind
from domain.errors import Refused
from domain.messages import MessageClass
from domain.road_plans import held_in_words
from domain.segments import parse
from models.campaigns import Campaign
from models.queries import (
    campaigns,
    holds,
    rows,
    segments,
    segments_written,
    templates,
    text_costs,
    workspaces,
)
from models.segments import Segment
from models.workspaces import Workspace


def lacking(
    workspace: Workspace,
    channels: Collection[Channel] = (Channel.EMAIL,),
    held: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """What a workspace needs before it may send anything on these channels, in sentences.

    `held` are the channels on which what is to be sent is held, and why.
    """
    reasons = [held_in_words(channel, held[channel]) for channel in sorted(channels) if channel in held]
    if Channel.EMAIL not in channels:
        return reasons
    if not workspace.sender_email:
        reasons.append("There is no sender: set sender_email by PATCH /api/v1/workspace.")
    elif workspace.sender_email != workspace.sending_email:
        reasons.append(
            f"Verify {workspace.sender_email} first: we mailed a link there. Another one is mailed by POST "
            "/api/v1/senders/{id}/verify."
        )
    if not workspace.postal_address:
        reasons.append(
            "There is no postal address, which must stand in every mail: set postal_address by "
            "PATCH /api/v1/workspace."
        )
    return reasons


def unreachable(channels: Collection[Channel]) -> list[str]:
    """Which of these channels know people by no name of theirs, so that campaigns and flows reach nobody."""
    return [
        f"Profiles have no address for {channel}: send single messages, which name theirs, by "
        "POST /api/v1/messages."
        for channel in sorted(channels)
        if address_kind(channel) is None
    ]


async def refuse_what_would_fail(db: AsyncSession, campaign: Campaign, now: datetime) -> None:
    """Raise `Refused` with everything that stands in the way of a campaign's start."""
    workspace = await workspaces.get(db, campaign.workspace_id)
    segment = await rows.get(db, Segment, campaign.segment_id)
    version = await templates.newest(db, campaign.template_id)
    channel = await templates.channel_of(db, campaign.template_id)
    is_marketing = campaign.message_class == MessageClass.MARKETING
    held = await holds.why(db, campaign.workspace_id) if is_marketing else {}
    reasons = lacking(workspace, [channel], held) + unreachable([channel])
    rule = await segments_written.resolved(db, parse(segment.rule))
    audience = segments.audience(rule, workspace, now)
    if not await campaigns.anyone(db, audience):
        reasons.append(f'The segment "{segment.name}" is empty: there is nobody to send to.')
    elif (kind := address_kind(channel)) and not await text_costs.reachable(db, audience, kind):
        reasons.append(f'Nobody in the segment "{segment.name}" has a {kind}: {channel} reaches nobody.')
    else:
        needed = templates.variables_required(templates.said_in(version, channel))
        reasons += [
            f"The template prints {{{{ {name} }}}}, which nobody in the audience has; give it a default: "
            f"{{{{ {name} | default: '…' }}}}."
            for name in await campaigns.had_by_nobody(db, audience, needed)
        ]
    if reasons:
        raise Refused(" ".join(reasons))
