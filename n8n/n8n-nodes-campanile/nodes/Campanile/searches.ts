import type {
	ILoadOptionsFunctions,
	INodeListSearchItems,
	INodeListSearchResult,
} from 'n8n-workflow';

import { ask } from '../shared/request';

const MOST_PAGES = 10;

type Search = (
	this: ILoadOptionsFunctions,
	filter?: string,
	paginationToken?: string,
) => Promise<INodeListSearchResult>;

/** What there is at `path`, by name, for a list to pick from. */
function search(path: string): Search {
	return async function (filter, paginationToken) {
		const wanted = (filter ?? '').toLowerCase();
		const results: INodeListSearchItems[] = [];
		let cursor: string | null = paginationToken ?? null;
		// The API can't search by name: read on until there is something to show.
		for (let page = 0; page < MOST_PAGES; page++) {
			const query = cursor ? { limit: 100, cursor } : { limit: 100 };
			const { body } = await ask(this, { method: 'GET', path, query });
			const { items, next_cursor: next } = body as {
				items: Array<{ id: string; name: string }>;
				next_cursor: string | null;
			};
			for (const { id, name } of items) {
				if (name.toLowerCase().includes(wanted)) results.push({ name, value: id });
			}
			cursor = next;
			if (results.length || !cursor) break;
		}
		return { results, paginationToken: cursor ?? undefined };
	};
}

export const listSearch: Record<string, Search> = {
	searchCampaigns: search('/api/v1/campaigns'),
	searchFlows: search('/api/v1/flows'),
	searchSegments: search('/api/v1/segments'),
	searchTemplates: search('/api/v1/templates'),
};
