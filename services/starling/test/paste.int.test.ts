import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
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
  const cwd = program.makeFolder();
  const starling = await program.start({ cwd, env: { STARLING_PATH_PREFIX: prefix } });
  const path = join(cwd, 'page.html');
  writeFileSync(path, between(starling.stdout(), '<!doctype html>', '\n</script>\n'));

  const page = await browser.newPage();
  const faults: string[] = [];
  page.on('pageerror', (err) => faults.push(String(err)));
  // The same file that is served there, but from the package: the tests need no network.
  const script = createRequire(import.meta.url).resolve('pusher-js/dist/web/pusher.min.js');
  await page.route('https://js.pusher.com/**', (route) =>
    route.fulfill({ contentType: 'text/javascript', body: readFileSync(script, 'utf8') }),
  );
  const subscribed = new Promise<void>((resolve) => {
    page.on('websocket', (socket) => {
      socket.on('framereceived', ({ payload }) => {
        if (String(payload).includes('subscription_succeeded')) resolve();
      });
    });
  });
  await page.goto(pathToFileURL(path).href);
  await subscribed;

  const command = between(starling.stdout(), '(\n', '\n)\n');
  const reply = execFileSync(shell, { input: command, encoding: 'utf8', timeout: 20_000 });
  expect(reply).toBe('{}\n');
  await page.getByText('{"message":"hello"}').waitFor({ timeout: 5_000 });
  expect(faults).toEqual([]);
  await page.close();
});
