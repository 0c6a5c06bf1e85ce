// A vendor that takes its time: every image it is asked for comes after as many seconds as the argument says. Prints its
// address; `GET /ledger` tells what was bought of it, by prompt.
import http from 'node:http';
import zlib from 'node:zlib';

const seconds = Number(process.argv[2]);
const bought = {};

/** A gray PNG of 64 x 64. */
function png() {
  const chunk = (kind, data) => {
    const body = Buffer.concat([Buffer.from(kind), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(zlib.crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const header = Buffer.from([0, 0, 0, 64, 0, 0, 0, 64, 8, 0, 0, 0, 0]);
  const rows = zlib.deflateSync(Buffer.alloc(64 * 65, 0x80).map((byte, n) => (n % 65 ? byte : 0)));
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', rows), chunk('IEND', Buffer.alloc(0))]);
}

const image = JSON.stringify({ images: [png().toString('base64')] });
const server = http.createServer(async (request, response) => {
  const answer = (body) => response.writeHead(200, { 'Content-Type': 'application/json' }).end(body);
  if (request.url === '/ledger') return answer(JSON.stringify(bought));
  let body = '';
  for await (const part of request) body += part;
  const { prompt } = JSON.parse(body);
  bought[prompt] = (bought[prompt] ?? 0) + 1;
  setTimeout(() => answer(image), seconds * 1000);
});
server.requestTimeout = 0;
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
