import { fastify } from 'fastify';
import { chromium } from 'playwright-core';
import { expect, inject, onTestFinished, test } from 'vitest';
import { operations, streams } from '../src/contract/index.ts';
import { serveDocs } from '../src/docs.ts';
import { secureHeaders } from '../src/frame/mount.ts';

test('[AD14] the page shows the operations in a real browser, below any prefix, with nothing from elsewhere', async () => {
  const server = fastify();
  await server.register(
    async (api) => {
      secureHeaders(api);
      await serveDocs(api, '1.2.3');
    },
    { prefix: '/below/api/v1' },
  );
  const origin = await server.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(() => server.close());
  const browser = await chromium.launch({ executablePath: inject('chromiumPath'), args: ['--no-sandbox'] });
  onTestFinished(() => browser.close());
  const page = await browser.newPage();
  const complaints: string[] = [];
  const elsewhere: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || /Content Security Policy/.test(message.text())) complaints.push(message.text());
  });
  page.on('pageerror', (err) => complaints.push(String(err)));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(`${origin}/`) && !url.startsWith('data:')) elsewhere.push(url);
  });
  await page.goto(`${origin}/below/api/v1/docs`);
  await page.getByText(operations.createKey.summary, { exact: true }).waitFor();
  expect(await page.locator('.opblock').count()).toBe(Object.keys({ ...operations, ...streams }).length);
  const serverUrl = await page.locator('.servers select option').first().textContent();
  expect(new URL(serverUrl ?? '', `${origin}/below/api/v1/docs/json`).pathname).toBe('/below/api/v1/');
  expect(complaints).toEqual([]);
  expect(elsewhere).toEqual([]);
});
