/** What docs/tokens.md shows works as it stands there. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { appOf } from '@starling/ports/contract';
import { limits } from '@starling/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { SystemClock } from '../system-clock.ts';
import { JoseTokenVerifier } from './token-verifier.ts';

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const page = readFileSync(join(root, 'docs/tokens.md'), 'utf8');
const snippets = [...page.matchAll(/^```js (\S+)\n([\s\S]*?)^```$/gm)].map(([, name, code]) => [name, code] as const);

it('shows two ways to mint a token', () => expect(snippets.map(([name]) => name)).toEqual(['jose', 'by-hand']));

it.each(snippets)('[TK1] mints a good token as shown: %s', async (_name, code) => {
  // Below the repository, so that it finds jose as a backend would.
  mkdirSync(join(root, 'build'), { recursive: true });
  const folder = mkdtempSync(join(root, 'build/docs-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'mint.mjs');
  writeFileSync(file, code ?? '');
  const { mint } = await import(/* @vite-ignore */ pathToFileURL(file).href);
  const token = await mint('key-1', 'secret-1', '7');
  const clock = new SystemClock();
  const verifier = new JoseTokenVerifier(clock, { notes: false, note: () => {}, problem: () => {}, defect: () => {} });
  const checked = await verifier.verify(appOf('1'), token, clock.now());
  if (!checked.ok) throw new Error(checked.refusal.message);
  expect(checked.value.user?.userId).toBe('7');
  expect(checked.value.capabilities.allows('subscribe', 'private-orders-9')).toBe(true);
});

it('names the bounds as they are', () => {
  for (const bound of [
    `up to ${limits.tokenPatterns} patterns`,
    `at most ${limits.tokenLifetimeSeconds / 3_600} hours`,
  ]) {
    expect(page).toContain(bound);
  }
  expect(page).toContain(`up to ${limits.tokenSkewSeconds} seconds ahead`);
});
