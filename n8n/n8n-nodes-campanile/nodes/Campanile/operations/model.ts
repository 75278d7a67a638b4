import type { IHttpRequestMethods, INodeProperties } from 'n8n-workflow';

/** A parameter of the node, and where its value goes in the request. */
export interface Field {
	to: 'path' | 'query' | 'body';
	/** The API's name; dots lead into an object (`to.email`). */
	key: string;
	property: Omit<INodeProperties, 'displayOptions'>;
	/** How the value is written: JSON that was typed, or a list that was typed with commas. */
	as?: 'json' | 'list';
}

/** One operation of a resource: what it asks of the API, and by which parameters. */
export interface Operation {
	value: string;
	name: string;
	action: string;
	description: string;
	method: IHttpRequestMethods;
	path: string;
	/** What has to be there. */
	fields?: Field[];
	/** What may be there, behind "Additional Fields" or "Filters". */
	more?: Field[];
	/** What comes back: one thing (the default), pages of things, or nothing. */
	answers?: 'one' | 'pages' | 'nothing';
	/** It goes with an Idempotency-Key, so that a retry does it once. */
	once?: boolean;
	/** The field of the body that tells a repeated call, where the path takes no Idempotency-Key. */
	onceBy?: string;
	/** The list in the body whose only item the fields make. */
	itemOf?: string;
}

export interface Resource {
	value: string;
	name: string;
	operations: Operation[];
}

type To = Field['to'];
type Extra = Partial<INodeProperties>;

/** `user_id` as n8n names parameters: userId. */
function named(key: string): string {
	return key
		.split(/[._]/)
		.map((word, nth) => (nth ? word.charAt(0).toUpperCase() + word.slice(1) : word))
		.join('');
}

export function text(to: To, key: string, displayName: string, extra: Extra = {}): Field {
	return {
		to,
		key,
		property: { displayName, name: named(key), type: 'string', default: '', ...extra },
	};
}

export function number(to: To, key: string, displayName: string, extra: Extra = {}): Field {
	return {
		to,
		key,
		property: { displayName, name: named(key), type: 'number', default: 0, ...extra },
	};
}

export function flag(to: To, key: string, displayName: string, extra: Extra = {}): Field {
	return {
		to,
		key,
		property: { displayName, name: named(key), type: 'boolean', default: true, ...extra },
	};
}

export function moment(to: To, key: string, displayName: string, extra: Extra = {}): Field {
	return {
		to,
		key,
		property: { displayName, name: named(key), type: 'dateTime', default: '', ...extra },
	};
}

export function json(to: To, key: string, displayName: string, extra: Extra = {}): Field {
	return {
		to,
		key,
		as: 'json',
		property: { displayName, name: named(key), type: 'json', default: '{}', ...extra },
	};
}

export function list(to: To, key: string, displayName: string, extra: Extra = {}): Field {
	return { ...text(to, key, displayName, extra), as: 'list' };
}

/** One of these; the first is the default unless `extra` names another. */
export function choice(
	to: To,
	key: string,
	displayName: string,
	options: Record<string, string>,
	extra: Extra = {},
): Field {
	const values = Object.entries(options).map(([value, name]) => ({ name, value }));
	return {
		to,
		key,
		// eslint-disable-next-line n8n-nodes-base/node-param-default-missing -- It is the first option.
		property: {
			displayName,
			name: named(key),
			type: 'options',
			options: values,
			default: values[0].value,
			...extra,
		},
	};
}

/** Something of the workspace, picked from a list or named by its id. */
export function picked(
	to: To,
	key: string,
	displayName: string,
	searchListMethod: string,
	extra: Extra = {},
): Field {
	return {
		to,
		key,
		property: {
			displayName,
			name: named(key),
			type: 'resourceLocator',
			default: { mode: 'list', value: '' },
			required: true,
			modes: [
				{
					displayName: 'From List',
					name: 'list',
					type: 'list',
					typeOptions: { searchListMethod, searchable: true },
				},
				{
					displayName: 'By ID',
					name: 'id',
					type: 'string',
					placeholder: '0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d',
				},
			],
			...extra,
		},
	};
}

export const profileId = text('path', 'profile_id', 'Profile ID', { required: true });

/** Who it is about: one of these at least. */
export function names(hint = 'One of email, phone, user ID and anonymous ID at least'): Field[] {
	return [
		text('body', 'email', 'Email', { placeholder: 'name@email.com', description: hint }),
		text('body', 'user_id', 'User ID', { description: 'Your own ID of the person' }),
		text('body', 'phone', 'Phone', {
			description: "With its country's code",
			placeholder: '+49 170 1234567',
		}),
		text('body', 'anonymous_id', 'Anonymous ID', { description: 'What a page called the visitor' }),
	];
}
