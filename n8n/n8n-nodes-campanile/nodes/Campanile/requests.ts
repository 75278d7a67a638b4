import { createHash } from 'node:crypto';
import type { IDataObject, IExecuteFunctions } from 'n8n-workflow';
import { NodeOperationError } from 'n8n-workflow';

import type { Request } from '../shared/request';
import { collection, OWN_KEY } from './operations';
import type { Field, Operation } from './operations/model';

/** The request that an operation makes for one item, from the node's parameters. */
export function requestFor(node: IExecuteFunctions, operation: Operation, item: number): Request {
	const body: IDataObject = {};
	const query: IDataObject = {};
	let path = operation.path;
	const optional =
		operation.more || operation.once
			? (node.getNodeParameter(collection(operation), item, {}) as IDataObject)
			: {};
	const given: Array<[Field, unknown]> = [
		...(operation.fields ?? []).map((each): [Field, unknown] => [each, required(node, each, item)]),
		...(operation.more ?? []).map((each): [Field, unknown] => [each, optional[each.property.name]]),
	];
	for (const [field, raw] of given) {
		const value = written(node, field, raw, item);
		if (value === undefined) continue;
		if (field.to === 'path') {
			path = path.replace(`{${field.key}}`, encodeURIComponent(String(value)));
		} else {
			put(field.to === 'query' ? query : body, field.key, value);
		}
	}
	const request: Request = { method: operation.method, path };
	if (Object.keys(query).length) request.query = query;
	if (operation.onceBy && body[operation.onceBy] === undefined) {
		body[operation.onceBy] = keyFor(node, request, body, item);
	}
	if ([...(operation.fields ?? []), ...(operation.more ?? [])].some(({ to }) => to === 'body')) {
		request.body = operation.itemOf ? { [operation.itemOf]: [body] } : body;
	}
	if (operation.once) {
		request.key = String(optional[OWN_KEY] || '') || keyFor(node, request, body, item);
	}
	return request;
}

function required(node: IExecuteFunctions, field: Field, item: number): unknown {
	const options = field.property.type === 'resourceLocator' ? { extractValue: true } : {};
	return node.getNodeParameter(field.property.name, item, '', options);
}

/**
 * A key that is the same when n8n tries the same request of the same execution again.
 *
 * In a loop a node runs several times in one execution: each run has keys of its own.
 */
function keyFor(
	node: IExecuteFunctions,
	request: Request,
	body: IDataObject,
	item: number,
): string {
	const { $runIndex: run } = node.getWorkflowDataProxy(item);
	const parts = [
		node.getWorkflow().id,
		node.getExecutionId(),
		node.getNode().id,
		run,
		item,
		request.method,
		request.path,
		body,
	];
	return `n8n-${createHash('sha256').update(JSON.stringify(parts)).digest('hex')}`;
}

/** A value as the API reads it; undefined where nothing was given. */
function written(node: IExecuteFunctions, field: Field, raw: unknown, item: number): unknown {
	if (raw === undefined || raw === null || raw === '') {
		if (field.property.required) throw missing(node, field, item);
		return undefined;
	}
	if (field.as === 'json') return typeof raw === 'string' ? parsed(node, field, raw, item) : raw;
	if (field.as === 'list') return listed(raw);
	if (field.property.type === 'dateTime') return instant(raw);
	if (field.key === 'callback_token') return lastPart(String(raw));
	return field.property.type === 'string' ? String(raw) : raw;
}

function parsed(node: IExecuteFunctions, field: Field, raw: string, item: number): unknown {
	try {
		return JSON.parse(raw);
	} catch (error) {
		const message = `"${field.property.displayName}" is no JSON`;
		const { message: description } = error as Error;
		throw new NodeOperationError(node.getNode(), message, { itemIndex: item, description });
	}
}

function missing(node: IExecuteFunctions, field: Field, item: number): NodeOperationError {
	const message = `"${field.property.displayName}" is missing`;
	return new NodeOperationError(node.getNode(), message, {
		itemIndex: item,
		description: 'Fill it in, or see why the expression gave nothing.',
	});
}

function listed(raw: unknown): unknown[] {
	if (Array.isArray(raw)) return raw;
	return String(raw)
		.split(',')
		.map((each) => each.trim())
		.filter(Boolean);
}

/** Expressions may give a Date, or a DateTime of Luxon. */
function instant(raw: unknown): string {
	if (raw instanceof Date) return raw.toISOString();
	const { toISO } = raw as { toISO?: () => string };
	return typeof toISO === 'function' ? toISO.call(raw) : String(raw);
}

/** The token of a callback that was given as a URL. The key goes to the credential's address only. */
function lastPart(raw: string): string {
	const [address] = raw.trim().split(/[?#]/);
	return address.split('/').filter(Boolean).pop() ?? '';
}

function put(into: IDataObject, key: string, value: unknown): void {
	const names = key.split('.');
	const last = names.pop() as string;
	let place = into;
	for (const name of names) {
		place[name] = place[name] ?? {};
		place = place[name] as IDataObject;
	}
	place[last] = value as IDataObject;
}
