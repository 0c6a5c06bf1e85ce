// Counts the checks in a folder of results. Counted apart: tasks, an extension that no revision requires, and what cannot
// be tried without a fixture.
import { globSync, readFileSync } from 'node:fs';

const count = { SUCCESS: 0, FAILURE: 0, WARNING: 0 };
const needsFixture = /^Not testable: server does not list the diagnostic tool|^Mutated the (tool|prompt) list but no /;
let tasks = 0;
let untried = 0;
for (const file of globSync(`${process.argv[2]}/**/checks.json`)) {
  const extension = /server-tasks-[^/]*\/checks\.json$/.test(file);
  for (const { id, status, errorMessage } of JSON.parse(readFileSync(file, 'utf8'))) {
    if (extension) tasks += status === 'FAILURE';
    else if (process.argv[3] === 'product' && needsFixture.test(errorMessage)) untried += 1;
    else {
      if (status in count) count[status] += 1;
      if (status === 'WARNING' || status === 'FAILURE') console.error(`${status} ${id}: ${errorMessage ?? ''}`);
    }
  }
}
let more = tasks ? ` (${tasks} checks of the tasks extension, which is not served, fail)` : '';
if (untried) more += ` (${untried} need a fixture)`;
console.log(`${count.SUCCESS} passed, ${count.FAILURE} failed, ${count.WARNING} warnings${more}`);
process.exit(count.FAILURE || !count.SUCCESS ? 1 : 0);
