// The page that shows a result's images, in a browser, told by the host side of the official library: what the gateway
// lists, answers and serves goes into it, under the policy that the page's `_meta` asks for. Argument: the browser.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ask, headers, me, url } from './story.mjs';

const mime = 'text/html;profile=mcp-app';
const capabilities = { extensions: { 'io.modelcontextprotocol/ui': { mimeTypes: [mime] } } };
const client = new Client(me, { capabilities, versionNegotiation: { mode: 'auto' } });
await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers } }));
const tool = (await client.listTools()).tools.find(({ name }) => name === 'generate_image_and_wait');
const uri = tool._meta.ui.resourceUri;
assert.ok((await client.listResources()).resources.some((resource) => resource.uri === uri && resource.mimeType === mime));
const page = (await client.readResource({ uri })).contents[0];
assert.equal(page.mimeType, mime);
assert.deepEqual(page._meta.ui.csp.resourceDomains, [new URL(url).origin]);

const prompt = '<img src=x onerror=alert(1)> a fox';
const given = { ...ask('gallery'), prompt, count: 2 };
const cases = [];
for (const shape of ['preview', 'link']) {
  const result = await client.callTool({ name: tool.name, arguments: { ...given, return: shape } });
  assert.notEqual(result.isError, true, JSON.stringify(result.content));
  cases.push({ given, result });
}
await client.close();

// The host: a page with the library, and the view in a frame of the same origin, so that it can be looked into.
const host = `<!doctype html><meta charset="utf-8"><script type="importmap">${JSON.stringify({
  imports: {
    '@modelcontextprotocol/ext-apps/app-bridge': '/modules/@modelcontextprotocol/ext-apps/dist/src/app-bridge.js',
    '@modelcontextprotocol/client': '/modules/@modelcontextprotocol/client/dist/index.mjs',
    '@modelcontextprotocol/client/_shims': '/modules/@modelcontextprotocol/client/dist/shimsBrowser.mjs',
    '@modelcontextprotocol/core': '/modules/@modelcontextprotocol/core/dist/index.mjs',
    '@modelcontextprotocol/core/internal': '/modules/@modelcontextprotocol/core/dist/internal.mjs',
    'pkce-challenge': '/modules/pkce-challenge/dist/index.browser.js',
    'zod/v4': '/modules/zod/v4/index.js',
    eventsource: '/modules/eventsource/dist/index.js',
    'eventsource-parser': '/modules/eventsource-parser/dist/index.js',
    'eventsource-parser/stream': '/modules/eventsource-parser/dist/stream.js',
  },
})}</script><script type="module">(${look})().then(tell, (error) => tell({ error: String(error.stack ?? error) }));
function tell(seen) { fetch('/seen', { method: 'POST', body: JSON.stringify(seen) }); }
onerror = (text) => tell({ error: String(text) });</script>`;

/** Runs in the host's page: shows each case and says what became visible. */
async function look() {
  const { AppBridge, PostMessageTransport } = await import('@modelcontextprotocol/ext-apps/app-bridge');
  const seen = [];
  for (const { html, given, result } of await (await fetch('/cases')).json()) {
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts allow-same-origin';
    document.body.append(frame);
    const bridge = new AppBridge(null, { name: 'host', version: '1' }, { openLinks: {} }, { hostContext: { theme: 'dark' } });
    const opened = [];
    let size = {};
    bridge.onopenlink = async ({ url }) => (opened.push(url), {});
    bridge.onsizechange = (to) => (size = to);
    const ready = new Promise((resolve) => (bridge.oninitialized = resolve));
    await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
    frame.srcdoc = html;
    await ready;
    await bridge.sendToolInput({ arguments: given });
    await bridge.sendToolResult(result);
    const view = frame.contentDocument;
    const shown = () => [...view.images].filter((image) => image.complete && image.naturalWidth > 0);
    for (let n = 0; n < 100 && shown().length < 2; n++) await new Promise((resolve) => setTimeout(resolve, 100));
    view.querySelector('button')?.click();
    for (let n = 0; n < 50 && (!opened.length || !size.height); n++) await new Promise((resolve) => setTimeout(resolve, 100));
    seen.push({
      shown: shown().map((image) => image.src.slice(0, 40)),
      captions: [...view.querySelectorAll('figcaption')].map((caption) => caption.textContent),
      all: view.images.length,
      note: view.querySelector('#note').textContent,
      scheme: view.documentElement.style.colorScheme,
      opened,
      size,
    });
  }
  return seen;
}

/** The page as a host serves it: under the policy that the specification builds of \`_meta\`. */
function confined() {
  const allowed = page._meta.ui.csp.resourceDomains.join(' ');
  const policy = `default-src 'none'; script-src 'self' 'unsafe-inline' ${allowed}; style-src 'self' 'unsafe-inline' ${allowed}; img-src 'self' data: ${allowed}; connect-src 'self'; object-src 'none'`;
  return page.text.replace('<head>', `<head><meta http-equiv="Content-Security-Policy" content="${policy}">`);
}

const modules = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'node_modules');
let told;
const report = new Promise((resolve) => (told = resolve));
const server = http.createServer(async (request, response) => {
  const answer = (type, body) => response.writeHead(200, { 'Content-Type': type }).end(body);
  if (request.url === '/') return answer('text/html', host);
  if (request.url === '/cases') return answer('application/json', JSON.stringify(cases.map((one) => ({ ...one, html: confined() }))));
  if (request.url === '/seen') {
    let body = '';
    for await (const part of request) body += part;
    answer('text/plain', '');
    return told(JSON.parse(body));
  }
  if (!request.url.startsWith('/modules/')) return response.writeHead(404).end();
  try {
    answer('text/javascript', await readFile(path.join(modules, request.url.slice('/modules/'.length))));
  } catch {
    console.error(`the host asks for ${request.url}`);
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const profile = mkdtempSync(path.join(tmpdir(), 'browser-'));
const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', `--user-data-dir=${profile}`];
const browser = spawn(process.argv[2], [...flags, `http://127.0.0.1:${server.address().port}/`], { stdio: ['ignore', 'ignore', 'pipe'] });
let complaints = '';
browser.stderr.on('data', (text) => (complaints += text));
try {
  const late = new Promise((resolve) => setTimeout(resolve, 60_000, { error: `the browser tells nothing: ${complaints}` }));
  const seen = await Promise.race([report, late]);
  assert.equal(seen.error, undefined, seen.error);
  for (const [n, start] of ['data:image/', `${url}/images/`].entries()) {
    const view = seen[n];
    assert.equal(view.shown.length, 2, JSON.stringify(view));
    assert.equal(view.all, 2, 'the prompt is text and no markup');
    for (const source of view.shown) assert.ok(source.startsWith(start), source);
    for (const caption of view.captions) assert.ok(caption.startsWith(prompt), caption);
    assert.deepEqual([view.note, view.scheme], ['', 'dark']);
    assert.ok(view.opened[0].startsWith(`${url}/images/`), 'a click opens the link');
    assert.ok(view.size.height > 100, 'the host hears how high it is');
  }
  console.log(`the gallery in ${path.basename(process.argv[2])}: ${seen.length} results, 2 images each`);
} finally {
  browser.kill();
  await new Promise((resolve) => (browser.exitCode === null ? browser.once('exit', resolve) : resolve()));
  server.close();
  rmSync(profile, { recursive: true, force: true });
}
process.exit();
