/** The package as its users get it. */
import { execFile } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createContext, runInContext } from 'node:vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageSdk } from '../../../infra/packaging/package-sdk.mjs';
import { packageFaults, typeFaults } from '../../../infra/packaging/prove-package.ts';
import { openProgram } from '../../../infra/testing/program.ts';

const folder = mkdtempSync(join(tmpdir(), 'starling-server-'));
const out = join(folder, 'node_modules/@starling/server');

beforeAll(async () => {
  mkdirSync(out, { recursive: true });
  await packageSdk({ room: 'server', out, doors: { '.': 'index' } });
});
afterAll(() => rmSync(folder, { recursive: true }));

test('says of itself what is true', async () => {
  expect(await packageFaults(out)).toEqual([]);
});

test('runs where there is neither Node nor a browser, only what every platform has', async () => {
  const sent: string[] = [];
  const platform = {
    crypto,
    TextEncoder,
    TextDecoder,
    URL,
    AbortSignal,
    atob,
    btoa,
    setTimeout,
    Headers,
    fetch: async (url: string) => {
      sent.push(url);
      return new Response('{}');
    },
    module: { exports: {} as { Starling: new (options: object) => import('./index.ts').Starling } },
  };
  const context = createContext(platform);
  runInContext(`(function (exports) {${readFileSync(join(out, 'index.cjs'), 'utf8')}\n})(module.exports)`, context);
  const { Starling } = platform.module.exports;
  const starling = new Starling({ appId: '3', key: 'k', secret: 's', url: 'http://localhost:6001' });
  await starling.trigger('a', 'e', { n: 1 });
  expect(sent).toEqual([expect.stringMatching(/^http:\/\/localhost:6001\/apps\/3\/events\?/)]);
  expect((await starling.authorizeChannel('1.2', 'private-a')).auth).toBe(
    `k:${createHmac('sha256', 's').update('1.2:private-a').digest('hex')}`,
  );
});

test('types what is triggered', async () => {
  const source = `import { Starling } from '@starling/server';
     const starling = new Starling<{ order: { id: number } }>({ appId: '1', key: 'k', secret: 's', url: 'http://h' });
     await starling.trigger('a', 'order', { id: 1 });
     await starling.triggerBatch([{ channel: 'a', event: 'order', data: { id: 1 } }]);
     // @ts-expect-error no such event
     await starling.trigger('a', 'other', {});
     // @ts-expect-error other data
     await starling.trigger('a', 'order', { id: 'one' });
     // @ts-expect-error other data
     await starling.triggerBatch([{ channel: 'a', event: 'order', data: {} }]);
     await new Starling({ appId: '1', key: 'k', secret: 's', url: 'http://h' }).trigger('a', 'any', 7);
     export {};`;
  expect(await typeFaults(folder, source)).toBe('');
});

test('its quick start works', async () => {
  const program = openProgram();
  try {
    const { url, app } = await program.start();
    const readme = readFileSync(join(out, 'README.md'), 'utf8');
    const script = /```js\n([^`]*)```/.exec(readme)?.[1] ?? '';
    expect(script).toContain('http://127.0.0.1:6001');
    const file = join(folder, 'quick-start.mjs');
    writeFileSync(
      file,
      script
        .replace('APP_ID', app.id)
        .replace('APP_KEY', app.key)
        .replace('APP_SECRET', app.secret)
        .replace('http://127.0.0.1:6001', url),
    );
    const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 20_000 });
    expect(stdout).toBe('{}\n');
  } finally {
    await program.close();
  }
});
