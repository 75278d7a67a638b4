import type {
	IDataObject,
	IHookFunctions,
	ILoadOptionsFunctions,
	INodePropertyOptions,
	INodeType,
	INodeTypeDescription,
	IWebhookFunctions,
	IWebhookResponseData,
} from 'n8n-workflow';
import { NodeConnectionTypes } from 'n8n-workflow';

import { ask } from '../shared/request';
import { verified } from '../shared/signatures';
import { isSubscribed, remembered, subscribe, unsubscribe } from './subscriptions';

/** How many deliveries are remembered, so that a repeated one starts nothing. */
const REMEMBERED = 10_000;

/**
 * What came in, the newest last. It is in this process alone: n8n keeps no static data of a call to `webhook`.
 */
const seen = new Set<string>();

interface EventType {
	type: string;
	title: string;
	description: string;
	can_be_asked_for: boolean;
}

/** Starts a workflow when something happens in Campanile, told by a signed webhook. */
export class CampanileTrigger implements INodeType {
	description: INodeTypeDescription = {
		displayName: 'Campanile Trigger',
		name: 'campanileTrigger',
		icon: { light: 'file:../../icons/campanile.svg', dark: 'file:../../icons/campanile.dark.svg' },
		group: ['trigger'],
		version: 1,
		subtitle:
			'={{$parameter["listenTo"] === "some" ? $parameter["eventTypes"].join(", ") : $parameter["listenTo"]}}',
		description: 'Starts the workflow when something happens in Campanile',
		defaults: { name: 'Campanile Trigger' },
		inputs: [],
		outputs: [NodeConnectionTypes.Main],
		usableAsTool: undefined,
		credentials: [{ name: 'campanileApi', required: true }],
		webhooks: [
			{
				name: 'default',
				httpMethod: 'POST',
				responseMode: 'onReceived',
				path: 'webhook',
				rawBody: true,
			},
		],
		properties: [
			{
				displayName: 'Listen To',
				name: 'listenTo',
				type: 'options',
				options: [
					{ name: 'Some Event Types', value: 'some' },
					{ name: 'Everything', value: 'everything' },
					{
						name: 'Calls of Flows',
						value: 'flowCalls',
						description: 'Steps of flows that name this webhook, and nothing else',
					},
				],
				default: 'some',
			},
			{
				displayName: 'Event Type Names or IDs',
				name: 'eventTypes',
				type: 'multiOptions',
				typeOptions: { loadOptionsMethod: 'getEventTypes' },
				required: true,
				default: [],
				description:
					'What to be told of. Choose from the list, or specify IDs using an <a href="https://docs.n8n.io/code/expressions/">expression</a>.',
				displayOptions: { show: { listenTo: ['some'] } },
			},
			{
				displayName: 'Start on Test Events',
				name: 'testEvents',
				type: 'boolean',
				default: false,
				description:
					'Whether a test event, sent by hand from Campanile, starts the workflow as well. It is accepted either way.',
			},
		],
	};

	methods = {
		loadOptions: {
			async getEventTypes(this: ILoadOptionsFunctions): Promise<INodePropertyOptions[]> {
				const { body } = await ask(this, { method: 'GET', path: '/api/v1/webhooks/event-types' });
				const types = (body as { items: EventType[] }).items.filter(
					(each) => each.can_be_asked_for,
				);
				const groups = [...new Set(types.map(({ type }) => `${type.split('.')[0]}.*`))];
				return [
					...groups.map((value) => ({ name: `All of ${value}`, value })),
					...types.map(({ type, title, description }) => ({
						name: `${title} (${type})`,
						value: type,
						description,
					})),
				];
			},
		},
	};

	webhookMethods = {
		default: {
			async checkExists(this: IHookFunctions): Promise<boolean> {
				return await isSubscribed(this);
			},
			async create(this: IHookFunctions): Promise<boolean> {
				return await subscribe(this);
			},
			async delete(this: IHookFunctions): Promise<boolean> {
				return await unsubscribe(this);
			},
		},
	};

	async webhook(this: IWebhookFunctions): Promise<IWebhookResponseData> {
		const known = remembered(this);
		const request = this.getRequestObject();
		const header = (name: string) => request.header(name);
		const id = header('webhook-id');
		const signed = {
			id,
			timestamp: header('webhook-timestamp'),
			signature: header('webhook-signature'),
		};
		if (!request.rawBody && request.readRawBody) await request.readRawBody();
		const body = request.rawBody;
		const now = Date.now() / 1000;
		if (!id || !body || !verified(known.secret ?? '', signed, body, now)) {
			return answered(this, 401, 'The signature is missing, wrong, or too old.');
		}
		const delivery = `${known.webhookId} ${id}`;
		if (seen.has(delivery)) return answered(this, 200, 'It came in before.');
		remember(delivery);
		const response = this.getResponseObject();
		// Campanile tries it again then, and it must not be taken for a repeated one.
		response.once('finish', () => response.statusCode >= 400 && seen.delete(delivery));
		const told = this.getBodyData();
		if (told.type === 'webhook.test' && !this.getNodeParameter('testEvents', false)) {
			return answered(this, 200, 'The test event came in.');
		}
		const json: IDataObject = { id, ...told };
		return { workflowData: [[{ json }]] };
	}
}

function remember(delivery: string): void {
	seen.add(delivery);
	if (seen.size > REMEMBERED) {
		const [oldest] = seen;
		seen.delete(oldest);
	}
}

function answered(node: IWebhookFunctions, status: number, message: string): IWebhookResponseData {
	node.getResponseObject().status(status).json({ message });
	return { noWebhookResponse: true };
}
