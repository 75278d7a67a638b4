import { flag, json, list, moment, names, number, picked, profileId, text, choice } from './model';
import type { Resource } from './model';

const aboutThem = [
	json('body', 'attributes', 'Attributes', {
		description:
			'Each is set to its value; null removes it, {"$inc": 3} adds to a number, {"$append": "x"} to a list',
	}),
	text('body', 'time_zone', 'Time Zone', { placeholder: 'Europe/Berlin' }),
	text('body', 'locale', 'Locale', { placeholder: 'de-DE' }),
	text('body', 'country', 'Country', { placeholder: 'DE', description: 'ISO 3166-1, two letters' }),
	text('body', 'owner_id', 'Owner ID', {
		description: 'The user ID of the member who looks after them',
	}),
];

export const profile: Resource = {
	value: 'profile',
	name: 'Profile',
	operations: [
		{
			value: 'upsert',
			name: 'Create or Update',
			action: 'Create or update a profile',
			description: 'Create a new record, or update the current one if it already exists (upsert)',
			method: 'POST',
			path: '/api/v1/profiles',
			fields: [
				text('body', 'email', 'Email', {
					placeholder: 'name@email.com',
					description: 'Leave it out where another name, such as a user ID, says who it is',
				}),
			],
			more: [
				...names().slice(1),
				...aboutThem,
				json('body', 'consents', 'Consents', {
					description: 'What they allow, such as {"email": "granted"}',
				}),
				text('body', 'consent_source', 'Consent Source', { default: 'n8n' }),
			],
			once: true,
		},
		{
			value: 'update',
			name: 'Update',
			action: 'Update a profile',
			description: 'Change a profile that is known by its ID',
			method: 'PATCH',
			path: '/api/v1/profiles/{profile_id}',
			fields: [profileId],
			more: [...names('Null takes it away'), ...aboutThem],
		},
		{
			value: 'get',
			name: 'Get',
			action: 'Get a profile',
			description: 'Get a profile by its ID',
			method: 'GET',
			path: '/api/v1/profiles/{profile_id}',
			fields: [profileId],
		},
		{
			value: 'getAll',
			name: 'Get Many',
			action: 'Get many profiles',
			description: 'Search profiles; all that is asked for must hold',
			method: 'GET',
			path: '/api/v1/profiles',
			more: [
				text('query', 'email', 'Email', { placeholder: 'name@email.com' }),
				text('query', 'phone', 'Phone'),
				text('query', 'user_id', 'User ID'),
				text('query', 'anonymous_id', 'Anonymous ID'),
				text('query', 'text', 'Text', { description: 'A name of any kind begins so' }),
				text('query', 'tag', 'Tag'),
				text('query', 'list_id', 'List ID', { description: 'Who is a member of this list' }),
				text('query', 'owner_id', 'Owner ID', { description: 'Whom this member looks after' }),
			],
			answers: 'pages',
		},
		{
			value: 'addTag',
			name: 'Add Tag',
			action: 'Add a tag to a profile',
			description: 'Tag a profile; a tag that it has already stays',
			method: 'PUT',
			path: '/api/v1/profiles/{profile_id}/tags/{tag}',
			fields: [profileId, text('path', 'tag', 'Tag', { required: true })],
			answers: 'nothing',
		},
		{
			value: 'removeTag',
			name: 'Remove Tag',
			action: 'Remove a tag from a profile',
			description: 'Take a tag off a profile',
			method: 'DELETE',
			path: '/api/v1/profiles/{profile_id}/tags/{tag}',
			fields: [profileId, text('path', 'tag', 'Tag', { required: true })],
			answers: 'nothing',
		},
		{
			value: 'delete',
			name: 'Erase',
			action: 'Erase a profile',
			description: 'Erase a person: all that says who they were and what they did, for ever',
			method: 'DELETE',
			path: '/api/v1/profiles/{profile_id}',
			fields: [profileId],
			answers: 'nothing',
		},
	],
};

export const event: Resource = {
	value: 'event',
	name: 'Event',
	operations: [
		{
			value: 'track',
			name: 'Track',
			action: 'Track an event',
			description: 'Say what somebody did',
			method: 'POST',
			path: '/track',
			fields: [
				text('body', 'name', 'Event Name', { required: true, placeholder: 'Product Viewed' }),
				text('body', 'email', 'Email', {
					placeholder: 'name@email.com',
					description: 'Leave it out where another name, such as a user ID, says who it is',
				}),
				json('body', 'properties', 'Properties'),
			],
			more: [
				...names().slice(1),
				moment('body', 'timestamp', 'Timestamp', {
					description: 'When it happened; now, if left out',
				}),
				text('body', 'messageId', 'Message ID', {
					description:
						'The same one twice counts once. Without one, a retry of this execution still counts once.',
				}),
				flag('body', 'historical', 'Historical', {
					description: 'Whether it only fills timelines and sums, and starts nothing',
				}),
			],
			onceBy: 'messageId',
		},
		{
			value: 'getAll',
			name: 'Get Many',
			action: 'Get many events',
			description: 'List what came in, the newest first',
			method: 'GET',
			path: '/api/v1/events',
			more: [
				text('query', 'name', 'Event Name'),
				moment('query', 'since', 'Since'),
				text('query', 'profile_id', 'Profile ID'),
			],
			answers: 'pages',
		},
	],
};

export const order: Resource = {
	value: 'order',
	name: 'Order',
	operations: [
		{
			value: 'place',
			name: 'Place',
			action: 'Place an order',
			description: 'Say what somebody bought',
			method: 'POST',
			path: '/api/v1/orders',
			fields: [
				text('body', 'order_id', 'Order ID', {
					description:
						"The shop's own; sent again, it is stored once. Without one, say when it was ordered.",
				}),
				text('body', 'email', 'Email', {
					placeholder: 'name@email.com',
					description: 'Leave it out where another name, such as a user ID, says who it is',
				}),
				text('body', 'total', 'Total', {
					required: true,
					placeholder: '49.90',
					description: 'All of it, with at most four decimals',
				}),
			],
			more: [
				...names().slice(1),
				text('body', 'currency', 'Currency', {
					placeholder: 'EUR',
					description: "ISO 4217; the workspace's by default",
				}),
				number('body', 'quantity', 'Quantity', { default: 1, description: 'Of pieces' }),
				moment('body', 'ordered_at', 'Ordered At', { description: 'Now, if left out' }),
				choice('body', 'status', 'Status', {
					placed: 'Placed',
					refunded: 'Refunded',
					cancelled: 'Cancelled',
				}),
				json('body', 'lines', 'Lines', {
					default: '[]',
					description: 'Such as [{"sku": "A1", "name": "Bell", "quantity": 1, "price": "49.90"}]',
				}),
				flag('body', 'historical', 'Historical', {
					description: 'Whether it only fills sums and segments, and starts no flow',
				}),
			],
			once: true,
		},
		{
			value: 'getAll',
			name: 'Get Many',
			action: 'Get many orders',
			description: 'List orders, the newest first',
			method: 'GET',
			path: '/api/v1/orders',
			more: [
				text('query', 'email', 'Email', { placeholder: 'name@email.com' }),
				text('query', 'profile_id', 'Profile ID'),
				moment('query', 'from', 'From'),
				moment('query', 'to', 'To'),
				choice('query', 'status', 'Status', {
					placed: 'Placed',
					refunded: 'Refunded',
					cancelled: 'Cancelled',
				}),
			],
			answers: 'pages',
		},
	],
};

const segmentId = picked('path', 'segment_id', 'Segment', 'searchSegments');

export const segment: Resource = {
	value: 'segment',
	name: 'Segment',
	operations: [
		{
			value: 'getAll',
			name: 'Get Many',
			action: 'Get many segments',
			description: 'List the segments of the workspace',
			method: 'GET',
			path: '/api/v1/segments',
			answers: 'pages',
		},
		{
			value: 'get',
			name: 'Get',
			action: 'Get a segment',
			description: 'Get a segment with its rule and its size',
			method: 'GET',
			path: '/api/v1/segments/{segment_id}',
			fields: [segmentId],
		},
		{
			value: 'getMembers',
			name: 'Get Members',
			action: 'Get the members of a segment',
			description: 'List who is in a segment',
			method: 'GET',
			path: '/api/v1/segments/{segment_id}/members',
			fields: [segmentId],
			more: [text('query', 'q', 'Text', { description: 'A name of any kind begins so' })],
			answers: 'pages',
		},
		{
			value: 'estimate',
			name: 'Estimate',
			action: 'Estimate the size of a rule',
			description: 'Count whom a rule would reach, without keeping it as a segment',
			method: 'POST',
			path: '/api/v1/segments/estimate',
			fields: [
				json('body', 'rule', 'Rule', {
					required: true,
					default: '{"kind": "orders", "measure": "count", "op": ">=", "value": 1}',
					description: 'A rule, as GET /api/v1/segments/schema describes it',
				}),
			],
		},
	],
};

const flowId = picked('path', 'flow_id', 'Flow', 'searchFlows');

function turn(value: string, name: string, description: string) {
	return {
		value,
		name,
		action: `${name} a flow`,
		description,
		method: 'POST' as const,
		path: `/api/v1/flows/{flow_id}/${value}`,
		fields: [flowId],
		once: true,
	};
}

export const flow: Resource = {
	value: 'flow',
	name: 'Flow',
	operations: [
		{
			value: 'getAll',
			name: 'Get Many',
			action: 'Get many flows',
			description: 'List the flows of the workspace',
			method: 'GET',
			path: '/api/v1/flows',
			answers: 'pages',
		},
		{
			value: 'get',
			name: 'Get',
			action: 'Get a flow',
			description: 'Get a flow with its steps',
			method: 'GET',
			path: '/api/v1/flows/{flow_id}',
			fields: [flowId],
		},
		{
			value: 'enroll',
			name: 'Enroll',
			action: 'Enroll profiles in a flow',
			description: 'Put profiles into a flow',
			method: 'POST',
			path: '/api/v1/flows/{flow_id}/enroll',
			fields: [
				flowId,
				list('body', 'profiles', 'Profiles', {
					required: true,
					placeholder: 'name@email.com',
					description: 'IDs or emails, separated by commas',
				}),
			],
			more: [
				json('body', 'properties', 'Properties', { description: 'Kept with each journey' }),
				text('body', 'entry', 'Entry', {
					description:
						'Tells two journeys of one profile apart where a flow may be entered always; the same entry twice enters once',
				}),
			],
			once: true,
		},
		{
			value: 'getStats',
			name: 'Get Stats',
			action: 'Get the figures of a flow',
			description: 'Get how many are at which step, and what became of the messages',
			method: 'GET',
			path: '/api/v1/flows/{flow_id}/stats',
			fields: [flowId],
		},
		turn('publish', 'Publish', 'Set a flow to work, or a draft of changes'),
		turn('pause', 'Pause', 'Hold everybody where they are'),
		turn('resume', 'Resume', 'Let a paused flow go on'),
	],
};
