// What every client does: list the tools, generate an image and wait for it, read its bytes.
import assert from 'node:assert/strict';

export const { GATEWAY_URL: url, GATEWAY_KEY: key } = process.env;
export const headers = { Authorization: `Bearer ${key}` };
export const me = { name: 'client-story', version: '1' };

export async function story(client, name) {
  const { tools } = await client.listTools();
  assert.ok(tools.some((tool) => tool.name === 'generate_image_and_wait'), 'the tool is listed');
  const progress = [];
  const call = { name: 'generate_image_and_wait', arguments: { prompt: `a fox for ${name}`, size: '256x256' } };
  const result = await callTool(client, call, { onprogress: (told) => progress.push(told), timeout: 60_000 });
  assert.notEqual(result.isError, true, JSON.stringify(result.content));
  const { status, images } = JSON.parse(result.content[0].text);
  assert.equal(status, 'completed');
  assert.ok(result.content.some((block) => block.type === 'image'), 'the picture is shown');
  const { contents } = await client.readResource({ uri: images[0].uri });
  const bytes = Buffer.from(contents[0].blob, 'base64');
  assert.deepEqual([...bytes.subarray(0, 4)], [0x89, 0x50, 0x4e, 0x47], 'a PNG');
  assert.equal(bytes.length, images[0].size_bytes);
  console.log(`${name}: ${tools.length} tools, ${bytes.length} bytes, ${progress.length} times progress`);
}

// The first major version of the SDK takes a schema between the call and its options.
function callTool(client, call, options) {
  return client.getProtocolEra ? client.callTool(call, options) : client.callTool(call, undefined, options);
}
