// The TypeScript SDK, second major version: the mode of its negotiation is the argument.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import assert from 'node:assert/strict';
import { headers, me, story, url } from './story.mjs';

const [how, name] = process.argv.slice(2);
const mode = how === 'pinned' ? { pin: '2026-07-28' } : how;
const client = new Client(me, { versionNegotiation: { mode } });
await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers } }));
assert.equal(client.getProtocolEra(), how === 'legacy' ? 'legacy' : 'modern');
await story(client, name);
await client.close();
process.exit();
