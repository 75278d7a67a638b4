import type {
	IAuthenticateGeneric,
	ICredentialTestRequest,
	ICredentialType,
	INodeProperties,
	Icon,
} from 'n8n-workflow';

/** Where a Campanile is, and a secret key of one of its workspaces. */
export class CampanileApi implements ICredentialType {
	name = 'campanileApi';

	displayName = 'Campanile API';

	icon: Icon = {
		light: 'file:../icons/campanile.svg',
		dark: 'file:../icons/campanile.dark.svg',
	};

	documentationUrl = 'https://campanile.example/docs/n8n#credentials';

	properties: INodeProperties[] = [
		{
			displayName: 'Base URL',
			name: 'baseUrl',
			type: 'string',
			required: true,
			default: 'http://127.0.0.1:8000',
			placeholder: 'https://campanile.example.com',
			description: 'Where Campanile answers, without /api/v1',
		},
		{
			displayName: 'Secret Key',
			name: 'secretKey',
			type: 'string',
			typeOptions: { password: true },
			required: true,
			default: '',
			description:
				'A secret key of the workspace, made by POST /api/v1/keys. What the nodes may do is what the key may do.',
		},
	];

	authenticate: IAuthenticateGeneric = {
		type: 'generic',
		properties: {
			headers: {
				Authorization: '=Bearer {{$credentials.secretKey}}',
			},
		},
	};

	test: ICredentialTestRequest = {
		request: {
			baseURL: '={{$credentials.baseUrl.replace(new RegExp("/+$"), "")}}',
			url: '/api/v1/whoami',
		},
	};
}
