// What every client does: list the tools, generate an image and wait for it, read its bytes. Where a wait ends before
// the image is there, it does what the answer tells an assistant: it waits again, and does not generate again.
import assert from 'node:assert/strict';

export const { GATEWAY_URL: url, GATEWAY_KEY: key } = process.env;
export const headers = { Authorization: `Bearer ${key}` };
export const me = { name: 'client-story', version: '1' };
/** The vendor takes longer than any wait does. */
export const slow = Boolean(process.env.SLOW);
export const ask = (name) => ({ prompt: `a fox for ${name}`, size: '256x256' });

/** The id of the job to wait for again; none once the image is there. */
export function stillRunning({ status, message, job_id }) {
  if (status === 'completed') return undefined;
  assert.ok(['pending', 'processing'].includes(status), status);
  assert.ok(message.startsWith(`Still running. Do not generate again: call wait_for_completion with job_id ${job_id}`), message);
  return job_id;
}

export function tell(name, tools, bytes, waits, more = '', cut = slow) {
  assert.equal(waits > 0, cut, `waits were ${cut ? 'not ' : ''}cut short`);
  console.log(`${name}: ${tools.length} tools, ${bytes.length} bytes, waited again ${waits} times${more}`);
}

export async function story(client, name) {
  const { tools } = await client.listTools();
  assert.ok(tools.some((tool) => tool.name === 'generate_image_and_wait'), 'the tool is listed');
  const progress = [];
  // With a slow vendor each client is left as it is by default, which is without progress.
  const options = slow ? undefined : { onprogress: (told) => progress.push(told) };
  let result = await callTool(client, { name: 'generate_image_and_wait', arguments: ask(name) }, options);
  let waits = 0;
  for (;;) {
    assert.notEqual(result.isError, true, JSON.stringify(result.content));
    const job_id = stillRunning(JSON.parse(result.content[0].text));
    if (!job_id) break;
    waits += 1;
    result = await callTool(client, { name: 'wait_for_completion', arguments: { job_id } }, options);
  }
  const { images } = JSON.parse(result.content[0].text);
  assert.ok(result.content.some((block) => block.type === 'image'), 'the picture is shown');
  const { contents } = await client.readResource({ uri: images[0].uri });
  const bytes = Buffer.from(contents[0].blob, 'base64');
  assert.deepEqual([...bytes.subarray(0, 4)], [0x89, 0x50, 0x4e, 0x47], 'a PNG');
  assert.equal(bytes.length, images[0].size_bytes);
  tell(name, tools, bytes, waits, `, ${progress.length} times progress`);
}

// The first major version of the SDK takes a schema between the call and its options.
function callTool(client, call, options) {
  return client.getProtocolEra ? client.callTool(call, options) : client.callTool(call, undefined, options);
}
