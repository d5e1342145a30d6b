import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { fixes, problems } from '../../sdk/protocol/src/index.ts';
import { errorsPage, errorsPagePath } from './errors-page.ts';

test('docs/errors.md is what `npm run docs:errors` makes now', () => {
  expect(readFileSync(errorsPagePath, 'utf8')).toBe(errorsPage());
});

test('every problem has a line, and every fix is told', () => {
  const page = errorsPage();
  for (const code of Object.keys(problems)) expect(page).toContain(`\n| \`${code}\``);
  for (const { fix } of Object.values(fixes)) expect(page).toContain(fix);
  expect(page).toMatch(/\| `app_unknown` \| 4001 \| 404 \| gives up, until `connect\(\)` \|/);
  expect(page).toMatch(/\| `tls_required` \| 4000 \| 403 \| reconnects with TLS/);
  expect(page).toMatch(/\| `token_expired` \| 4110 \| 401 \| reconnects after a pause \|/);
  expect(page).toMatch(/\| `going_away` \| 4200 \| 503 \| reconnects at once \|/);
  expect(page).toMatch(/\| `message_too_large` \| 1009 \| 413 \| reconnects after a pause \|/);
});
