import type {
	IDataObject,
	IExecuteFunctions,
	IHookFunctions,
	IHttpRequestMethods,
	ILoadOptionsFunctions,
	JsonObject,
} from 'n8n-workflow';
import { NodeApiError, sleep } from 'n8n-workflow';

export type Asker = IExecuteFunctions | IHookFunctions | ILoadOptionsFunctions;

/** One request to Campanile. `path` begins with a slash. */
export interface Request {
	method: IHttpRequestMethods;
	path: string;
	query?: IDataObject;
	body?: IDataObject;
	/** The Idempotency-Key: the same request with the same key is done once. */
	key?: string;
}

export interface Answer {
	status: number;
	body: unknown;
}

/** What Campanile answers when it refuses: a problem of RFC 9457. */
interface Problem {
	title?: string;
	detail?: string;
	errors?: Array<{ pointer?: string; in?: string; detail?: string }>;
}

interface FullResponse {
	statusCode: number;
	headers: IDataObject;
	body: unknown;
}

const WAITS = 3;
const LONGEST_WAIT = 60;

/**
 * What Campanile answers. Where it asks to wait (429), that is done, a few times.
 *
 * Throws a NodeApiError in the problem's words, unless the status is one of `expected`.
 */
export async function ask(
	asker: Asker,
	request: Request,
	itemIndex = 0,
	expected: number[] = [],
): Promise<Answer> {
	const { baseUrl } = await asker.getCredentials<{ baseUrl: string }>('campanileApi');
	let response = await send(asker, String(baseUrl), request, itemIndex);
	for (let wait = 0; response.statusCode === 429 && wait < WAITS; wait++) {
		const seconds = Number(response.headers['retry-after']);
		if (!(seconds <= LONGEST_WAIT)) break;
		await sleep(seconds * 1000);
		response = await send(asker, String(baseUrl), request, itemIndex);
	}
	const { statusCode: status, body } = response;
	if (status >= 400 && !expected.includes(status)) {
		throw refusal(asker, response, itemIndex);
	}
	return { status, body };
}

/** The items of a list, page by page, at most `limit` of them. */
export async function* pages(
	asker: Asker,
	request: Request,
	limit: number,
	itemIndex = 0,
): AsyncGenerator<IDataObject> {
	let cursor: string | null = null;
	for (let left = limit; left > 0; ) {
		const query: IDataObject = { ...request.query, limit: Math.min(left, 500) };
		if (cursor) query.cursor = cursor;
		const { body } = await ask(asker, { ...request, query }, itemIndex);
		const page = body as { items: IDataObject[]; next_cursor: string | null };
		yield* page.items.slice(0, left);
		left -= page.items.length;
		cursor = page.next_cursor;
		if (!cursor) return;
	}
}

async function send(
	asker: Asker,
	baseUrl: string,
	{ method, path, query, body, key }: Request,
	itemIndex: number,
): Promise<FullResponse> {
	try {
		return (await asker.helpers.httpRequestWithAuthentication.call(asker, 'campanileApi', {
			method,
			url: `${withoutSlash(baseUrl)}${path}`,
			qs: query,
			body,
			headers: key ? { 'Idempotency-Key': key } : {},
			json: true,
			returnFullResponse: true,
			ignoreHttpStatusErrors: true,
			disableFollowRedirect: true,
		})) as FullResponse;
	} catch (error) {
		throw new NodeApiError(asker.getNode(), error as JsonObject, { itemIndex });
	}
}

function withoutSlash(url: string): string {
	return url.endsWith('/') ? withoutSlash(url.slice(0, -1)) : url;
}

function refusal(asker: Asker, response: FullResponse, itemIndex: number): NodeApiError {
	const { statusCode, body } = response;
	const problem = (typeof body === 'object' && body !== null ? body : {}) as Problem;
	const title = problem.title ?? `Campanile answered ${statusCode}`;
	const fields = (problem.errors ?? [])
		.filter(({ pointer }) => pointer)
		.map(({ pointer, detail: why }) => `${pointer}: ${why ?? ''}`);
	const detail = problem.detail ?? '';
	return new NodeApiError(asker.getNode(), problem as JsonObject, {
		message: [title, detail].filter(Boolean).join(': '),
		description: fields.join('\n') || undefined,
		httpCode: String(statusCode),
		itemIndex,
	});
}
