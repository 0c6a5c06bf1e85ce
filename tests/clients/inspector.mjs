// The command line of the MCP Inspector: an era, then its name in the report.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { key, url } from './story.mjs';

const [era, name] = process.argv.slice(2);
function inspect(...args) {
  const [at, transport] = era === 'sse' ? ['/sse', 'sse'] : ['/mcp', 'http'];
  const all = ['--cli', url + at, '--transport', transport, '--stored-auth-only', '--header', `Authorization: Bearer ${key}`];
  if (era !== 'sse') all.push('--protocol-era', era);
  const ended = spawnSync('mcp-inspector', [...all, ...args], { encoding: 'utf8', maxBuffer: 1 << 26 });
  assert.equal(ended.status, 0, `${args.join(' ')}: ${ended.stderr}${ended.stdout}`);
  return JSON.parse(ended.stdout);
}

const { tools } = inspect('--method', 'tools/list', '--strict');
assert.ok(tools.some((tool) => tool.name === 'generate_image_and_wait'), 'the tool is listed');
const ask = JSON.stringify({ prompt: `a fox for ${name}`, size: '256x256' });
const { content } = inspect('--method', 'tools/call', '--tool-name', 'generate_image_and_wait', '--tool-args-json', ask);
const { status, images } = JSON.parse(content[0].text);
assert.equal(status, 'completed');
const { contents } = inspect('--method', 'resources/read', '--uri', images[0].uri);
const bytes = Buffer.from(contents[0].blob, 'base64');
assert.equal(bytes.length, images[0].size_bytes);
console.log(`${name}: ${tools.length} tools, ${bytes.length} bytes`);
