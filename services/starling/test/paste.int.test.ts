/** What a start prints, as it is: the page it links to shows what the pasted command sends. */
import { execFileSync } from 'node:child_process';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { openProgram, type Program } from '../../../infra/testing/program.ts';

let program: Program;
let browser: Browser;
beforeAll(async () => {
  program = openProgram();
  browser = await chromium.launch({
    executablePath: inject('chromiumPath'),
    // Chromium refuses its sandbox to root, which is who runs tests in a container.
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
});
afterAll(async () => {
  await browser?.close();
  await program?.close();
});

/** What stands between two lines of the banner, as someone would mark it with a mouse. */
function between(text: string, begin: string, end: string): string {
  const from = text.indexOf(`\n${begin}`) + 1;
  return text.slice(from, text.indexOf(end, from) + end.length);
}

test.each([
  ['', 'bash'],
  ['', 'sh'],
  ['/realtime', 'bash'],
])('[OP7] the page shows what the pasted command sends (prefix %j, %s)', async (prefix, shell) => {
  const starling = await program.start({ env: { STARLING_PATH_PREFIX: prefix } });
  const page = await browser.newPage();
  const faults: string[] = [];
  page.on('pageerror', (err) => faults.push(String(err)));
  await page.goto(/page +(\S+)/.exec(starling.stdout())?.[1] ?? '');
  await page.getByText('Waiting for an event on my-channel').waitFor({ timeout: 10_000 });

  const send = (command: string) => execFileSync(shell, { input: command, encoding: 'utf8', timeout: 20_000 });
  expect(send(between(starling.stdout(), '(\n', '\n)\n'))).toBe('{}\n');
  await page.getByText('"message": "hello"').waitFor({ timeout: 5_000 });
  // The page shows the same command, without the secret.
  const shown = (await page.locator('#snippet').textContent()) ?? '';
  expect(shown).not.toContain(starling.app.secret);
  expect(send(shown.replace('YOUR_SECRET', starling.app.secret))).toBe('{}');
  await page.getByText('2 received').waitFor({ timeout: 5_000 });
  expect(faults).toEqual([]);
  await page.close();
});
