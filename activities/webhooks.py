"""Deliver what is announced to a workspace's webhooks: claim, post, settle, for each webhook on its own.

A delivery is tried again until it is taken, for three days, with the same id and body at each try. A crash
between the receiver's yes and our note of it leaves a lease that ends: then it is told once more, and a
receiver of Standard Webhooks drops what it had. `activities/webhook_round.py` has what follows.
"""

from uuid import UUID

from temporalio import activity

from activities.bell import Bell
from activities.reports import Mails
from activities.slices import Hourglass, Timing, heartbeating
from activities.webhook_calls import Outside
from activities.webhook_ends import Delivered
from activities.webhook_round import Round
from domain.clock import Clock
from domain.messages import Work
from domain.outboxes import announcements
from models.base import Sessions
from models.queries import account_mails, pokes, webhook_deliveries, webhook_health


class WebhookActivities:
    def __init__(
        self, sessions: Sessions, outside: Outside, bell: Bell, clock: Clock, timing: Timing, mails: Mails
    ) -> None:
        self.sessions, self.outside, self.bell = sessions, outside, bell
        self.clock, self.timing, self.mails = clock, timing, mails

    @activity.defn(name="deliver")
    async def deliver(self, workspace_id: UUID) -> Delivered:
        """Deliver until the slice is over or nothing is due. It lingers for more."""
        queue_id = announcements(workspace_id)
        async with heartbeating():
            async with self.bell.listen(queue_id, Work.DELIVER) as rung:
                async with self.sessions(workspace_id) as db:
                    await pokes.take(db, queue_id, Work.DELIVER)
                glass = Hourglass(self.timing.slice)
                round_ = Round(self.sessions, self.outside, self.clock, self.timing, workspace_id, glass)
                await round_.run(rung)
            done = round_.done
            await self.alert()
            async with self.sessions.batch(workspace_id) as db:
                ahead = await webhook_deliveries.ahead(db, workspace_id)
            done.pending, done.next_due_at, done.lease_left = ahead
        return done

    async def alert(self) -> int:
        """Write to owners and admins about webhooks that we disabled. Returns about how many."""
        now = self.clock.now()
        async with self.sessions.glance() as look:
            if not await webhook_health.silent(look):
                return 0
        async with self.sessions.accounts() as db:
            alarms = await webhook_health.silent(db)
            for alarm in alarms:
                said = {
                    "workspace_name": alarm.workspace,
                    "webhook": alarm.name,
                    "webhook_id": str(alarm.id),
                    "why": alarm.reason,
                }
                for address in alarm.addresses:
                    await account_mails.queue(
                        db,
                        "webhook disabled",
                        address,
                        said,
                        public_url=self.mails.public_url,
                        sender=self.mails.sender,
                        now=now,
                    )
            await webhook_health.told(db, alarms, now)
        return len(alarms)
