// Counts the checks in a folder of results. Counted apart: what cannot be tried without a fixture.
import { globSync, readFileSync } from 'node:fs';

const count = { SUCCESS: 0, FAILURE: 0, WARNING: 0 };
const needsFixture = /^Not testable: server does not list the diagnostic tool|^Mutated the (tool|prompt) list but no /;
let untried = 0;
for (const file of globSync(`${process.argv[2]}/**/checks.json`)) {
  for (const { id, status, errorMessage } of JSON.parse(readFileSync(file, 'utf8'))) {
    if (process.argv[3] === 'product' && needsFixture.test(errorMessage)) untried += 1;
    else {
      if (status in count) count[status] += 1;
      if (status === 'WARNING' || status === 'FAILURE') console.error(`${status} ${id}: ${errorMessage ?? ''}`);
    }
  }
}
const more = untried ? ` (${untried} need a fixture)` : '';
console.log(`${count.SUCCESS} passed, ${count.FAILURE} failed, ${count.WARNING} warnings${more}`);
process.exit(count.FAILURE || !count.SUCCESS ? 1 : 0);
