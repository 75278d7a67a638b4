import type { INodeProperties } from 'n8n-workflow';

import { callback, failure } from './mending';
import type { Field, Operation, Resource } from './model';
import { event, flow, order, profile, segment } from './people';
import { campaign, message } from './sending';

export const resources: Resource[] = [
	callback,
	campaign,
	event,
	failure,
	flow,
	message,
	order,
	profile,
	segment,
];

const FIRST: Record<string, string> = { profile: 'upsert', callback: 'answer' };

/** Where the optional fields of an operation are. */
export function collection(operation: Operation): string {
	return operation.answers === 'pages' ? 'filters' : 'additionalFields';
}

/** What a path leaves open for the asker's own key, behind the optional fields. */
export const OWN_KEY = 'idempotencyKey';

const ownKey: INodeProperties = {
	displayName: 'Idempotency Key',
	name: OWN_KEY,
	type: 'string',
	default: '',
	description:
		'The same request with the same key is done once within a day. By default a key of this execution and item, so that a retry does nothing twice.',
};

/** The parameters of the node: which resource, which operation, and what that takes. */
export function properties(): INodeProperties[] {
	const resource: INodeProperties = {
		displayName: 'Resource',
		name: 'resource',
		type: 'options',
		noDataExpression: true,
		options: resources.map(({ name, value }) => ({ name, value })),
		default: 'profile',
	};
	return [resource, ...resources.flatMap(ofResource)];
}

function ofResource(resource: Resource): INodeProperties[] {
	const sorted = [...resource.operations].sort((a, b) => a.name.localeCompare(b.name));
	// eslint-disable-next-line n8n-nodes-base/node-param-default-missing -- It is computed.
	const operation: INodeProperties = {
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: { show: { resource: [resource.value] } },
		options: sorted.map(({ name, value, action, description }) => ({
			name,
			value,
			action,
			description,
		})),
		default: FIRST[resource.value] ?? resource.operations[0].value,
	};
	return [operation, ...resource.operations.flatMap((each) => ofOperation(resource, each))];
}

function ofOperation(resource: Resource, operation: Operation): INodeProperties[] {
	const displayOptions = { show: { resource: [resource.value], operation: [operation.value] } };
	const required = (operation.fields ?? []).map((each) => ({ ...each.property, displayOptions }));
	const optional = (operation.more ?? []).map((each: Field) => each.property);
	if (operation.once) optional.push(ownKey);
	const found: INodeProperties[] = required;
	if (operation.answers === 'pages') found.push(...paging(displayOptions));
	if (optional.length) {
		const filters = collection(operation) === 'filters';
		found.push({
			displayName: filters ? 'Filters' : 'Additional Fields',
			name: collection(operation),
			type: 'collection',
			placeholder: filters ? 'Add Filter' : 'Add Field',
			default: {},
			displayOptions,
			options: [...optional].sort((a, b) => a.displayName.localeCompare(b.displayName)),
		});
	}
	return found;
}

function paging({ show }: { show: Record<string, string[]> }): INodeProperties[] {
	return [
		{
			displayName: 'Return All',
			name: 'returnAll',
			type: 'boolean',
			default: false,
			description: 'Whether to return all results or only up to a given limit',
			displayOptions: { show },
		},
		{
			displayName: 'Limit',
			name: 'limit',
			type: 'number',
			typeOptions: { minValue: 1 },
			default: 50,
			description: 'Max number of results to return',
			displayOptions: { show: { ...show, returnAll: [false] } },
		},
	];
}
