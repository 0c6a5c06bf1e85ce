// What the server offers, and one image: node examples/generate.mjs [file]
import { writeFile } from "node:fs/promises";

const url = process.env.IMAGE_GATEWAY_URL ?? "http://127.0.0.1:8000";
const key = process.env.IMAGE_GATEWAY_KEY;
const file = process.argv[2] ?? "fox.png";

function fail(why) {
  console.error(why);
  process.exit(1);
}

async function call(method, params) {
  const response = await fetch(`${url}/mcp`, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
  });
  const answer = await response.json();
  return answer.error ? fail(answer.error.message) : answer.result;
}

if (!key) fail("set IMAGE_GATEWAY_KEY to a key of the gateway");
const { tools } = await call("tools/list", {});
for (const tool of tools) console.log(`${tool.name}: ${tool.description.split(". ")[0]}`);

const result = await call("tools/call", {
  name: "generate_image_and_wait",
  arguments: { prompt: "a red fox in the snow", return: "link" },
});
if (result.isError) fail(result.content[0].text);
const image = await fetch(result.structuredContent.image_url);
if (!image.ok) fail(`${image.status} ${image.statusText}`);
await writeFile(file, Buffer.from(await image.arrayBuffer()));
console.log(`wrote ${file}`);
