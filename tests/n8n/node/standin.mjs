// Stands in for n8n: runs our nodes as n8n does, with n8n's own errors. One line of JSON in, one out.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(import.meta.url);
const { NodeApiError, NodeOperationError } = require('n8n-workflow');
const { Campanile } = require('./dist/nodes/Campanile/Campanile.node.js');
const { CampanileTrigger } = require('./dist/nodes/CampanileTrigger/CampanileTrigger.node.js');
const { CampanileApi } = require('./dist/credentials/CampanileApi.credentials.js');
const { collection, resources } = require('./dist/nodes/Campanile/operations/index.js');

const action = new Campanile();
const trigger = new CampanileTrigger();
const credential = new CampanileApi();

/** What all of n8n's functions have in common, for one node with its credentials. */
function common({ credentials, type = 'campanile', workflow = 'w1', node = 'n1' }, asked) {
  return {
    getNode: () => ({ id: node, name: 'Campanile', type, typeVersion: 1, position: [0, 0], parameters: {} }),
    getWorkflow: () => ({ id: workflow, name: 'A workflow', active: true }),
    getCredentials: async () => credentials,
    helpers: {
      async httpRequestWithAuthentication(name, options) {
        if (name !== credential.name) throw new Error(`no credentials ${name}`);
        const headers = { ...options.headers };
        for (const [header, value] of Object.entries(credential.authenticate.properties.headers)) {
          headers[header] = value.replace('=', '').replace('{{$credentials.secretKey}}', credentials.secretKey);
        }
        const url = new URL(options.url);
        for (const [key, value] of Object.entries(options.qs ?? {})) url.searchParams.set(key, value);
        let body;
        if (options.body !== undefined) {
          body = JSON.stringify(options.body);
          headers['content-type'] = 'application/json';
        }
        asked.push({ method: options.method, path: url.pathname, query: url.search, body: options.body, headers: options.headers });
        const response = await fetch(url, { method: options.method, headers, body, redirect: 'manual' });
        const text = await response.text();
        const isJson = (response.headers.get('content-type') ?? '').includes('json');
        return {
          statusCode: response.status,
          headers: Object.fromEntries(response.headers),
          body: text && isJson ? JSON.parse(text) : text,
        };
      },
    },
  };
}

function parameter(given, name, otherwise, options) {
  const value = name in given ? given[name] : otherwise;
  if (value === undefined) throw new Error(`Could not get parameter ${name}`);
  return options?.extractValue && value !== null && typeof value === 'object' ? value.value : value;
}

const does = {
  describe: () => ({
    action: action.description,
    trigger: trigger.description,
    credential,
    operations: resources.flatMap((resource) =>
      resource.operations.map((each) => ({ resource: resource.value, optional: collection(each), ...each })),
    ),
  }),

  /** Each of `items` has the parameters of its own. */
  async execute(given, asked) {
    const { items, execution = '7', run = 0, continueOnFail = false } = given;
    const self = {
      ...common(given, asked),
      getInputData: () => items.map(() => ({ json: {} })),
      getNodeParameter: (name, item, otherwise, options) => parameter(items[item], name, otherwise, options),
      getExecutionId: () => execution,
      getWorkflowDataProxy: () => ({ $runIndex: run }),
      continueOnFail: () => continueOnFail,
    };
    const [found] = await action.execute.call(self);
    return { items: found };
  },

  async search(given, asked) {
    return await action.methods.listSearch[given.method].call(common(given, asked), given.filter, given.token);
  },

  async options(given, asked) {
    return { options: await trigger.methods.loadOptions[given.method].call(common(given, asked)) };
  },

  async hook(given, asked) {
    const memory = given.memory ?? {};
    const self = {
      ...common(given, asked),
      getNodeParameter: (name, otherwise, options) => parameter(given.parameters, name, otherwise, options),
      getNodeWebhookUrl: () => given.url,
      getWorkflowStaticData: () => memory,
    };
    return { answer: await trigger.webhookMethods.default[given.method].call(self), memory };
  },

  async webhook(given, asked) {
    const memory = given.memory ?? {};
    const raw = Buffer.from(given.body, 'base64');
    const headers = Object.fromEntries(Object.entries(given.headers).map(([name, value]) => [name.toLowerCase(), value]));
    const sent = {};
    let finished;
    const response = {
      once(event, handler) {
        if (event === 'finish') finished = handler;
      },
      status(code) {
        sent.status = code;
        return this;
      },
      json(body) {
        sent.body = body;
      },
    };
    const self = {
      ...common(given, asked),
      getNodeParameter: (name, otherwise, options) => parameter(given.parameters ?? {}, name, otherwise, options),
      getWorkflowStaticData: () => memory,
      getRequestObject: () => ({ rawBody: raw, header: (name) => headers[name.toLowerCase()] }),
      getResponseObject: () => response,
      getBodyData: () => JSON.parse(raw.toString()),
    };
    const answer = await trigger.webhook.call(self);
    response.statusCode = given.failing ? 500 : (sent.status ?? 200);
    finished?.();
    return { answer, memory, sent };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const given = JSON.parse(line);
  const asked = [];
  let answer;
  try {
    answer = { ok: await does[given.do](given, asked) };
  } catch (error) {
    const isOurs = error instanceof NodeApiError || error instanceof NodeOperationError;
    answer = {
      error: {
        name: error.constructor.name,
        message: error.message,
        description: error.description,
        httpCode: error.httpCode,
        item: error.context?.itemIndex,
        stack: isOurs ? undefined : error.stack,
      },
    };
  }
  process.stdout.write(`${JSON.stringify({ ...answer, asked })}\n`);
}
