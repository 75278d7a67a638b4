import { choice, flag, json, moment, text } from './model';
import type { Resource } from './model';

const categories = {
	ours: 'Ours',
	address: 'Address',
	content: 'Content',
	configuration: 'Configuration',
	provider: 'Provider',
	limit: 'Limit',
};

const failureId = text('path', 'failure_id', 'Failure ID', { required: true });

export const failure: Resource = {
	value: 'failure',
	name: 'Failure Log',
	operations: [
		{
			value: 'create',
			name: 'Create',
			action: 'Note a failure',
			description: 'Note that something outside Campanile failed',
			method: 'POST',
			path: '/api/v1/failure-logs',
			fields: [
				text('body', 'title', 'Title', { required: true, description: 'What failed' }),
				text('body', 'reason', 'Reason', { required: true, description: 'Why, in a sentence' }),
				choice('body', 'category', 'Category', categories),
			],
			more: [
				text('body', 'remedy', 'Remedy', { description: 'What to do about it, in a sentence' }),
				json('body', 'detail', 'Detail', { description: 'At most 16 KB' }),
				text('body', 'reference', 'Reference', {
					description: 'The same one twice is noted once, such as the ID of what told of it',
				}),
			],
			once: true,
		},
		{
			value: 'get',
			name: 'Get',
			action: 'Get a failure',
			description: 'Get a failure by its ID',
			method: 'GET',
			path: '/api/v1/failure-logs/{failure_id}',
			fields: [failureId],
		},
		{
			value: 'getAll',
			name: 'Get Many',
			action: 'Get many failures',
			description: 'List failures, the newest first',
			method: 'GET',
			path: '/api/v1/failure-logs',
			more: [
				choice('query', 'category', 'Category', categories),
				choice('query', 'subject', 'Subject', {
					message: 'Message',
					slice: 'Slice',
					workflow: 'Workflow',
					provider: 'Provider',
					webhook: 'Webhook',
					import: 'Import',
					outside: 'Outside',
				}),
				text('query', 'source_id', 'Source ID', { description: 'Of a campaign or a flow' }),
				text('query', 'provider_id', 'Provider ID'),
				moment('query', 'since', 'Since'),
				moment('query', 'until', 'Until'),
				flag('query', 'acknowledged', 'Acknowledged', {
					default: false,
					description: 'Whether somebody has seen to it',
				}),
				flag('query', 'retryable', 'Retryable', { description: 'Whether it can be tried again' }),
			],
			answers: 'pages',
		},
		{
			value: 'acknowledge',
			name: 'Acknowledge',
			action: 'Acknowledge a failure',
			description: 'Say that somebody has seen to it',
			method: 'POST',
			path: '/api/v1/failure-logs/{failure_id}/acknowledge',
			fields: [failureId],
			once: true,
		},
		{
			value: 'retry',
			name: 'Retry',
			action: 'Retry what failed',
			description: 'Try once more what failed: a message is sent again, a delivery is replayed',
			method: 'POST',
			path: '/api/v1/failure-logs/{failure_id}/retry',
			fields: [failureId],
			more: [
				text('body', 'provider_id', 'Provider ID', { description: 'To go by another provider' }),
				flag('body', 'unknown', 'Unknown Too', {
					default: false,
					description:
						'Whether to send again where nobody knows if it was accepted; the person may get it twice',
				}),
			],
			once: true,
		},
	],
};

const outcomes = { done: 'Done', failed: 'Failed' };

const token = text('path', 'callback_token', 'Callback', {
	required: true,
	description: 'The callback URL of the call, or its token alone',
});

export const callback: Resource = {
	value: 'callback',
	name: 'Callback',
	operations: [
		{
			value: 'answer',
			name: 'Answer All',
			action: 'Answer a call for all its members',
			description: "Answer a flow's call with one outcome for all its members",
			method: 'POST',
			path: '/api/v1/callbacks/{callback_token}',
			fields: [token, choice('body', 'outcome', 'Outcome', outcomes)],
		},
		{
			value: 'answerMember',
			name: 'Answer One',
			action: 'Answer a call for one member',
			description:
				"Answer a flow's call with the outcome for one member, for a workflow with an item each",
			method: 'POST',
			path: '/api/v1/callbacks/{callback_token}',
			fields: [
				token,
				text('body', 'member', 'Member ID', {
					required: true,
					description: 'As the call named them',
				}),
				choice('body', 'outcome', 'Outcome', outcomes),
			],
			more: [
				text('body', 'reason', 'Reason', { description: 'Why, for whoever reads their history' }),
				json('body', 'attributes', 'Attributes', {
					description: 'What was found out about the person: written before they go on',
				}),
			],
			itemOf: 'members',
		},
		{
			value: 'answerMembers',
			name: 'Answer Members',
			action: 'Answer a call for each member',
			description: "Answer a flow's call with an outcome for each member",
			method: 'POST',
			path: '/api/v1/callbacks/{callback_token}',
			fields: [
				token,
				json('body', 'members', 'Members', {
					required: true,
					default: '[]',
					description:
						'Such as [{"member": ID, "outcome": "done"}, {"member": ID, "outcome": "failed", "reason": "…"}]',
				}),
			],
		},
	],
};
