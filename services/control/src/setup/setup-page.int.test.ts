/** The page of the first run in a real browser, without scripts, over real HTTP. */
import type { AddressInfo } from 'node:net';
import { databaseOf } from '@starling/database/test-kit';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { owner, type StartedPeople, startPeople } from '../people.test-kit.ts';

describe('the page of the first run in a browser', () => {
  const database = databaseOf();
  let browser: Browser;
  let started: StartedPeople;
  let base: string;
  beforeAll(async () => {
    browser = await chromium.launch({
      executablePath: inject('chromiumPath'),
      args: ['--no-sandbox', '--disable-dev-shm-usage'],
    });
  });
  afterAll(() => browser.close());
  beforeEach(async () => {
    started = await startPeople(database);
    await started.server.listen({ host: '127.0.0.1', port: 0 });
    base = `http://127.0.0.1:${(started.server.server.address() as AddressInfo).port}`;
  });
  afterEach(async () => {
    expect(started.problems).toEqual([]);
    await started.close();
  });

  test.each([
    { width: 1280, height: 900, colorScheme: 'light' },
    { width: 400, height: 800, colorScheme: 'dark' },
  ] as const)(
    '[AU10] works without scripts at $width px in $colorScheme colours',
    async ({ colorScheme, ...viewport }) => {
      const context = await browser.newContext({ javaScriptEnabled: false, viewport, colorScheme });
      const page = await context.newPage();
      const complaints: string[] = [];
      page.on('console', (message) => complaints.push(message.text()));
      page.on('requestfailed', (request) => complaints.push(request.url()));

      await page.goto(`${base}/setup?token=${await started.people.createSetupToken()}`);
      // Styles that the policy blocks would leave a plain button.
      expect(await page.evaluate("getComputedStyle(document.querySelector('.button')).borderRadius")).toBe('8px');
      expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
      await page.getByLabel('Your name').fill(owner.name);
      await page.getByLabel('E-mail address').fill(owner.email);
      // Long enough for the browser, and not for us.
      await page.getByLabel('Password').fill('aaaaaaaaaaaaaaa');
      await page.getByRole('button').click();
      expect(await page.locator('.fault').innerText()).toContain('different characters');
      expect(await page.getByLabel('Your name').inputValue()).toBe(owner.name);
      expect(await page.getByLabel('Password').inputValue()).toBe('');
      await page.getByLabel('Password').fill(owner.password);
      await page.getByRole('button').click();
      expect(new URL(page.url()).pathname).toBe('/setup/done');
      expect(await page.locator('h1').innerText()).toBe('You are all set');
      const cookies = await context.cookies();
      expect(cookies.map(({ name, httpOnly, sameSite }) => ({ name, httpOnly, sameSite }))).toContainEqual({
        name: 'starling_session',
        httpOnly: true,
        sameSite: 'Lax',
      });
      expect(complaints.filter((each) => !each.includes('status of 400'))).toEqual([]);
      await context.close();
    },
  );
});
