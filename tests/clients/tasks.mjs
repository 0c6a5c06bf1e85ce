// A call that goes on as a task, and its result: 2025-11-25 by the TypeScript SDK, 2026-07-28 by ext-tasks.
import { Client as ClientOfTwo, StreamableHTTPClientTransport as TransportOfTwo } from '@modelcontextprotocol/client';
import { createTaskSessionFromClient, resultFromTaskOutcome } from '@modelcontextprotocol/ext-tasks/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import assert from 'node:assert/strict';
import { headers, me, url } from './story.mjs';

const [how, name] = process.argv.slice(2);
const at = new URL(`${url}/mcp`);
const tool = 'generate_image';
const asked = { prompt: `a fox for ${name}`, size: '256x256' };
const seen = [];

const forms = { core, extension };
const result = await forms[how]();
assert.equal(result.structuredContent.status, 'completed', JSON.stringify(result));
assert.ok(result.content.some((block) => block.type === 'image'), 'the picture is shown');
console.log(`${name}: ${seen.join(', ')}`);
process.exit();

async function core() {
  const client = new Client(me, { capabilities: { tasks: {} } });
  await client.connect(new StreamableHTTPClientTransport(at, { requestInit: { headers } }));
  await client.listTools(); // where it is said which tools can
  const { tasks } = client.experimental;
  let id, result;
  for await (const told of tasks.callToolStream({ name: tool, arguments: asked }, CallToolResultSchema, { task: {} })) {
    if (told.type === 'error') throw told.error;
    if (told.type === 'taskCreated') id = told.task.taskId;
    if (told.type === 'result') result = told.result;
    if (seen.at(-1) !== told.type) seen.push(told.type);
  }
  assert.equal(result.structuredContent.job_id, id, 'the job is the task');
  assert.equal((await tasks.getTask(id)).status, 'completed');
  assert.ok((await tasks.listTasks()).tasks.some((task) => task.taskId === id), 'it is listed');
  await assert.rejects(tasks.cancelTask(id), 'it has ended');
  return result;
}

async function extension() {
  const clientCapabilities = { extensions: { 'io.modelcontextprotocol/tasks': {} } };
  const client = new ClientOfTwo(me, { capabilities: clientCapabilities, versionNegotiation: { mode: 'auto' } });
  await client.connect(new TransportOfTwo(at, { requestInit: { headers } }));
  const protocolVersion = '2026-07-28';
  // The SDK's own client knows no results of the extension.
  const rawDispatch = async ({ method, params }) => {
    seen.push(method);
    const said = {
      ...headers,
      'Content-Type': 'application/json',
      Accept: 'application/json, text/event-stream',
      'MCP-Protocol-Version': protocolVersion,
      'Mcp-Method': method,
      'Mcp-Name': params.name ?? params.taskId,
    };
    const body = JSON.stringify({ jsonrpc: '2.0', id: seen.length, method, params });
    const { result, error } = await (await fetch(at, { method: 'POST', headers: said, body })).json();
    return error ? { kind: 'error', error } : { kind: 'result', result };
  };
  const v2RequestFraming = { protocolVersion, clientInfo: me, clientCapabilities };
  const session = createTaskSessionFromClient(client, { endpointId: 'story', rawDispatch, v2RequestFraming });
  const execution = await session.callTool(tool, asked);
  const { outcome } = await execution.settle();
  assert.ok(seen.includes('tasks/get'), 'it was a task');
  return resultFromTaskOutcome(outcome);
}
