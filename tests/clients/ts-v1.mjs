// The TypeScript SDK, first major version: Streamable HTTP, HTTP+SSE, or a program on stdio.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { headers, me, story, url } from './story.mjs';

const [how, name, command, ...args] = process.argv.slice(2);
const transport = {
  http: () => new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers } }),
  sse: () => new SSEClientTransport(new URL(`${url}/sse`), { requestInit: { headers } }),
  stdio: () => new StdioClientTransport({ command, args, env: process.env, stderr: 'ignore' }),
}[how]();
const client = new Client(me);
client.onerror = (error) => {
  console.error(`${name}:`, error);
  process.exitCode = 1;
};
await client.connect(transport);
await story(client, name);
client.onerror = undefined; // of what breaks off because we leave
await transport.terminateSession?.();
await client.close();
process.exit();
