import type { IDataObject, IHookFunctions } from 'n8n-workflow';

import { ask } from '../shared/request';

const WEBHOOKS = '/api/v1/webhooks';

/** What the workflow remembers of its webhook. */
export interface Remembered extends IDataObject {
	webhookId?: string;
	secret?: string;
}

interface Webhook {
	id: string;
	url: string;
	event_types: string[];
	state: string;
}

export function remembered(node: Pick<IHookFunctions, 'getWorkflowStaticData'>): Remembered {
	return node.getWorkflowStaticData('node') as Remembered;
}

/** Whether Campanile has our webhook. One that was changed or disabled is put right. */
export async function isSubscribed(node: IHookFunctions): Promise<boolean> {
	const known = remembered(node);
	if (!known.webhookId || !known.secret) return false;
	const path = `${WEBHOOKS}/${known.webhookId}`;
	const { status, body } = await ask(node, { method: 'GET', path }, 0, [404]);
	if (status === 404) {
		forget(known);
		return false;
	}
	const { url, event_types: types, state } = body as Webhook;
	const wanted = eventTypes(node);
	const same = types.length === wanted.length && types.every((each) => wanted.includes(each));
	const change: IDataObject = {};
	if (url !== node.getNodeWebhookUrl('default')) change.url = node.getNodeWebhookUrl('default');
	if (!same) change.event_types = wanted;
	if (state !== 'enabled') change.state = 'enabled';
	if (Object.keys(change).length) await ask(node, { method: 'PATCH', path, body: change });
	return true;
}

export async function subscribe(node: IHookFunctions): Promise<boolean> {
	const name = `n8n: ${node.getWorkflow().name ?? node.getWorkflow().id}`;
	const { body } = await ask(node, {
		method: 'POST',
		path: WEBHOOKS,
		body: {
			name: name.slice(0, 200),
			url: node.getNodeWebhookUrl('default'),
			event_types: eventTypes(node),
		},
	});
	const { id, secret } = body as { id: string; secret: string };
	Object.assign(remembered(node), { webhookId: id, secret });
	return true;
}

/** Ends the subscription. While a flow calls it (409), Campanile keeps it, and so do we. */
export async function unsubscribe(node: IHookFunctions): Promise<boolean> {
	const known = remembered(node);
	if (!known.webhookId) return true;
	const path = `${WEBHOOKS}/${known.webhookId}`;
	const { status } = await ask(node, { method: 'DELETE', path }, 0, [404, 409]);
	if (status !== 409) forget(known);
	return true;
}

function eventTypes(node: IHookFunctions): string[] {
	if (node.getNodeParameter('listenTo') === 'everything') return ['*'];
	if (node.getNodeParameter('listenTo') === 'flowCalls') return [];
	return node.getNodeParameter('eventTypes', []) as string[];
}

function forget(known: Remembered): void {
	delete known.webhookId;
	delete known.secret;
}
