// The command line of the MCP Inspector: an era, then its name in the report.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { ask, key, slow, stillRunning, tell, url } from './story.mjs';

const [era, name] = process.argv.slice(2);
function inspect(...args) {
  const [at, transport] = era === 'sse' ? ['/sse', 'sse'] : ['/mcp', 'http'];
  const all = ['--cli', url + at, '--transport', transport, '--stored-auth-only', '--header', `Authorization: Bearer ${key}`];
  if (era !== 'sse') all.push('--protocol-era', era);
  const ended = spawnSync('mcp-inspector', [...all, ...args], { encoding: 'utf8', maxBuffer: 1 << 26 });
  assert.equal(ended.status, 0, `${args.join(' ')}: ${ended.stderr}${ended.stdout}`);
  return JSON.parse(ended.stdout);
}
function call(tool, args) {
  const { content } = inspect('--method', 'tools/call', '--tool-name', tool, '--tool-args-json', JSON.stringify(args));
  return JSON.parse(content[0].text);
}

const { tools } = inspect('--method', 'tools/list', '--strict');
assert.ok(tools.some((tool) => tool.name === 'generate_image_and_wait'), 'the tool is listed');
let made = call('generate_image_and_wait', ask(name));
let waits = 0;
for (let job_id = stillRunning(made); job_id; job_id = stillRunning(made)) {
  waits += 1;
  made = call('wait_for_completion', { job_id });
}
const { contents } = inspect('--method', 'resources/read', '--uri', made.images[0].uri);
const bytes = Buffer.from(contents[0].blob, 'base64');
assert.equal(bytes.length, made.images[0].size_bytes);
// In 2026-07-28 it knows tasks, and waits for the image by itself.
const byTask = era === 'modern' || era === 'auto';
tell(name, tools, bytes, waits, byTask ? ', as a task' : '', slow && !byTask);
