import { choice, json, moment, number, picked, text } from './model';
import type { Resource } from './model';

const campaignId = picked('path', 'campaign_id', 'Campaign', 'searchCampaigns');

const states = {
	draft: 'Draft',
	scheduled: 'Scheduled',
	running: 'Running',
	paused: 'Paused',
	completed: 'Completed',
	cancelled: 'Cancelled',
	failed: 'Failed',
};

const starters = {
	campanile: 'Campanile',
	n8n: 'N8n',
};

function turn(value: string, name: string, description: string) {
	return {
		value,
		name,
		action: `${name} a campaign`,
		description,
		method: 'POST' as const,
		path: `/api/v1/campaigns/{campaign_id}/${value}`,
		fields: [campaignId],
		once: true,
	};
}

export const campaign: Resource = {
	value: 'campaign',
	name: 'Campaign',
	operations: [
		{
			value: 'getAll',
			name: 'Get Many',
			action: 'Get many campaigns',
			description: 'List campaigns, such as those that are scheduled for a day',
			method: 'GET',
			path: '/api/v1/campaigns',
			more: [
				text('query', 'scheduled_on', 'Scheduled On', {
					placeholder: '2026-11-21',
					description: "A day in the workspace's time zone",
				}),
				choice('query', 'state', 'State', states, { default: 'scheduled' }),
				choice('query', 'starter', 'Starter', starters, {
					default: 'n8n',
					description: 'Who is to start them',
				}),
			],
			answers: 'pages',
		},
		{
			value: 'get',
			name: 'Get',
			action: 'Get a campaign',
			description: 'Get a campaign by its ID',
			method: 'GET',
			path: '/api/v1/campaigns/{campaign_id}',
			fields: [campaignId],
		},
		{
			value: 'create',
			name: 'Create',
			action: 'Create a campaign',
			description: 'Make a draft of a campaign',
			method: 'POST',
			path: '/api/v1/campaigns',
			fields: [
				text('body', 'name', 'Name', { required: true }),
				picked('body', 'segment_id', 'Segment', 'searchSegments'),
				picked('body', 'template_id', 'Template', 'searchTemplates'),
			],
			more: [
				choice(
					'body',
					'class',
					'Class',
					{ marketing: 'Marketing', transactional: 'Transactional' },
					{ description: 'Consent and frequency caps count for marketing only' },
				),
			],
			once: true,
		},
		{
			value: 'schedule',
			name: 'Schedule',
			action: 'Schedule a campaign',
			description: 'Say when a campaign starts, and who starts it',
			method: 'POST',
			path: '/api/v1/campaigns/{campaign_id}/schedule',
			fields: [
				campaignId,
				moment('body', 'at', 'At', {
					required: true,
					description: 'Local in the time zone, or an instant with an offset',
				}),
			],
			more: [
				text('body', 'time_zone', 'Time Zone', {
					placeholder: 'Europe/Berlin',
					description: "The workspace's by default",
				}),
				choice('body', 'starter', 'Starter', starters, {
					description: 'Who starts it: Campanile by itself, or a workflow of n8n that asks for it',
				}),
			],
			once: true,
		},
		turn('unschedule', 'Unschedule', 'Make a scheduled campaign a draft again'),
		turn('start', 'Start', 'Start a campaign now; one that has started is not started again'),
		turn('pause', 'Pause', 'Hold what is not sent yet'),
		turn('resume', 'Resume', 'Let a paused campaign go on'),
		turn('cancel', 'Cancel', 'Stop a campaign for good; what is queued is not sent'),
		{
			value: 'getStats',
			name: 'Get Stats',
			action: 'Get the figures of a campaign',
			description: 'Get what became of its messages',
			method: 'GET',
			path: '/api/v1/campaigns/{campaign_id}/stats',
			fields: [campaignId],
		},
	],
};

export const message: Resource = {
	value: 'message',
	name: 'Message',
	operations: [
		{
			value: 'send',
			name: 'Send',
			action: 'Send a message',
			description: 'Send one message to one person',
			method: 'POST',
			path: '/api/v1/messages',
			fields: [
				choice('body', 'channel', 'Channel', {
					email: 'Email',
					sms: 'SMS',
					whatsapp: 'WhatsApp',
					push: 'Push',
					webhook: 'Webhook',
					best: 'Whichever Suits the Person',
				}),
				json('body', 'to', 'To', {
					required: true,
					default: '{"email": "name@email.com"}',
					description:
						'Who gets it: {"profile": an ID, email or user ID}, or a bare address by "email", "phone", "url" or "subscription"',
				}),
				picked('body', 'template_id', 'Template', 'searchTemplates', {
					required: false,
					description: 'Its newest version is sent; or give a body of its own',
				}),
			],
			more: [
				json('body', 'body', 'Body', {
					description: 'Words of its own, in Liquid: {"subject": "…", "html": "…"} for an email',
				}),
				choice(
					'body',
					'class',
					'Class',
					{ transactional: 'Transactional', marketing: 'Marketing' },
					{ description: 'Consent and caps count for marketing' },
				),
				json('body', 'data', 'Data', { description: "Variables beside the profile's attributes" }),
				json('body', 'attachments', 'Attachments', {
					default: '[]',
					description:
						'Such as [{"name": "a.pdf", "content_type": "application/pdf", "content": base64}]',
				}),
				moment('body', 'send_at', 'Send At', { description: 'At most 30 days ahead' }),
				number('body', 'expires_in', 'Expires In', {
					default: 86400,
					description: 'Seconds after which it is too late',
				}),
			],
			once: true,
		},
		{
			value: 'get',
			name: 'Get',
			action: 'Get the story of a message',
			description: 'Get what became of a message',
			method: 'GET',
			path: '/api/v1/messages/{message_id}',
			fields: [text('path', 'message_id', 'Message ID', { required: true })],
		},
	],
};
