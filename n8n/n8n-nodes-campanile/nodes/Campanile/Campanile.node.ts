import type {
	IDataObject,
	IExecuteFunctions,
	INodeExecutionData,
	INodeType,
	INodeTypeDescription,
	JsonObject,
} from 'n8n-workflow';
import { NodeApiError, NodeConnectionTypes, NodeOperationError } from 'n8n-workflow';

import { ask, pages } from '../shared/request';
import { properties, resources } from './operations';
import type { Operation } from './operations/model';
import { requestFor } from './requests';
import { listSearch } from './searches';

/** Campanile's API as a node. What it can do is the table in `operations/`. */
export class Campanile implements INodeType {
	description: INodeTypeDescription = {
		displayName: 'Campanile',
		name: 'campanile',
		icon: { light: 'file:../../icons/campanile.svg', dark: 'file:../../icons/campanile.dark.svg' },
		group: ['transform'],
		version: 1,
		subtitle: '={{$parameter["operation"] + ": " + $parameter["resource"]}}',
		description: 'Profiles, events, orders, segments, campaigns, flows and messages of Campanile',
		defaults: { name: 'Campanile' },
		inputs: [NodeConnectionTypes.Main],
		outputs: [NodeConnectionTypes.Main],
		usableAsTool: true,
		credentials: [{ name: 'campanileApi', required: true }],
		properties: properties(),
	};

	methods = { listSearch };

	async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
		const items = this.getInputData();
		const found: INodeExecutionData[] = [];
		for (let item = 0; item < items.length; item++) {
			try {
				const operation = chosen(this, item);
				for await (const json of carriedOut(this, operation, item)) {
					found.push({ json, pairedItem: { item } });
				}
			} catch (error) {
				if (this.continueOnFail()) {
					found.push({ json: { error: (error as Error).message }, pairedItem: { item } });
					continue;
				}
				// Either class takes an error of its own as it is.
				if (error instanceof NodeApiError) {
					throw new NodeApiError(this.getNode(), error as unknown as JsonObject);
				}
				throw new NodeOperationError(this.getNode(), error as Error, { itemIndex: item });
			}
		}
		return [found];
	}
}

function chosen(node: IExecuteFunctions, item: number): Operation {
	const resource = node.getNodeParameter('resource', item) as string;
	const name = node.getNodeParameter('operation', item) as string;
	const operations = resources.find(({ value }) => value === resource)?.operations ?? [];
	const operation = operations.find(({ value }) => value === name);
	if (!operation) {
		const message = `There is no operation "${name}" of "${resource}"`;
		throw new NodeOperationError(node.getNode(), message, { itemIndex: item });
	}
	return operation;
}

async function* carriedOut(
	node: IExecuteFunctions,
	operation: Operation,
	item: number,
): AsyncGenerator<IDataObject> {
	const request = requestFor(node, operation, item);
	if (operation.answers === 'pages') {
		const all = node.getNodeParameter('returnAll', item, false) as boolean;
		const limit = all ? Infinity : (node.getNodeParameter('limit', item, 50) as number);
		yield* pages(node, request, limit, item);
		return;
	}
	const { body } = await ask(node, request, item);
	yield operation.answers === 'nothing' || !body ? { success: true } : (body as IDataObject);
}
