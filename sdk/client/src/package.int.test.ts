/** The package as its users get it. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createContext, runInContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import { problems, wireProblems } from '@starling/protocol';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageFaults, typeFaults } from '../../../infra/packaging/prove-package.ts';

const folder = mkdtempSync(join(tmpdir(), 'starling-client-'));
const out = join(folder, 'node_modules/@starling/client');

beforeAll(() => {
  execFileSync(process.execPath, [join(import.meta.dirname, '../build.mjs'), out], { stdio: 'pipe' });
});
afterAll(() => rmSync(folder, { recursive: true }));

test('says of itself what is true', async () => {
  expect(await packageFaults(out)).toEqual([]);
}, 180_000);

test('has no dependencies, and no import of anything but React', () => {
  expect(JSON.parse(readFileSync(join(out, 'package.json'), 'utf8'))).not.toHaveProperty('dependencies');
  const scripts = readdirSync(out).filter((name) => /\.[cm]?js$/.test(name));
  const imported = scripts.flatMap((name) =>
    [
      ...readFileSync(join(out, name), 'utf8').matchAll(/^import .*from "([^.][^"]*)"|\brequire\("([^.][^"]*)"\)/gm),
    ].map((match) => match[1] ?? match[2]),
  );
  expect([...new Set(imported)]).toEqual(['react']);
});

test('is under 10 KB on its way to a browser', () => {
  expect(gzipSync(readFileSync(join(out, 'starling.min.js')), { level: 9 }).length).toBeLessThan(10 * 1_024);
});

test("holds none of the texts that only the HTTP API's and the admin API's users meet", () => {
  const texts = Object.entries(problems).flatMap(([code, { text }]) => (code in wireProblems ? [] : text));
  // A short one may stand there for another reason.
  const telling = texts.filter((text) => text.length > 20);
  expect(telling.length).toBeGreaterThan(20);
  for (const name of readdirSync(out).filter((each) => /\.[cm]?js$/.test(each))) {
    const script = readFileSync(join(out, name), 'utf8');
    expect({ name, found: telling.filter((text) => script.includes(text)) }).toEqual({ name, found: [] });
  }
});

test('its script makes one global, where there is next to nothing else', () => {
  const context = createContext({ setTimeout, clearTimeout });
  runInContext(readFileSync(join(out, 'starling.min.js'), 'utf8'), context);
  runInContext(`client = new Starling('key', { host: 'http://localhost:6001' })`, context);
  expect(runInContext('client.connection.state', context)).toBe('failed');
});

test.each([
  [
    'imported',
    'app.mjs',
    `import { Starling } from '@starling/client'; import { TestServer } from '@starling/client/testing';`,
  ],
  [
    'required',
    'app.cjs',
    `const { Starling } = require('@starling/client'); const { TestServer } = require('@starling/client/testing');`,
  ],
])('works when %s', async (_how, name, imports) => {
  const program = `${imports}
    const server = new TestServer();
    const client = new Starling('key', server.options());
    client.subscribe('room').bind('order', (order) => { console.log(order.id); client.disconnect(); });
    server.settled().then(() => server.publish('room', 'order', { id: 7 }));`;
  writeFileSync(join(folder, name), program);
  const { stdout } = await promisify(execFile)(process.execPath, [join(folder, name)], { timeout: 20_000 });
  expect(stdout).toBe('7\n');
});

test.each(['.mjs', '.cjs'])('has one copy of each class over all %s doors, so that instanceof holds', (ending) => {
  const counts = new Map<string, number>();
  for (const name of readdirSync(out).filter((file) => file.endsWith(ending))) {
    const text = readFileSync(join(out, name), 'utf8');
    for (const [, made = ''] of text.matchAll(/^(?:var (?=\w+ = class\b)|class )(\w+)/gm)) {
      counts.set(made, (counts.get(made) ?? 0) + 1);
    }
  }
  expect(counts.get('StarlingError')).toBe(1);
  expect([...counts].filter(([, count]) => count > 1)).toEqual([]);
});

test.each([[[]], [['dom']]])('its types need no platform, and fit the browser’s: %j', async (libs) => {
  const typed = `
    import { Starling, type WebSocketConstructor } from '@starling/client';
    import { nacl } from '@starling/client/encrypted';
    import { TestServer } from '@starling/client/testing';
    interface Events { orders: { created: { id: number } } }
    declare const WebSocket: WebSocketConstructor;
    const starling = new Starling<Events>('key', { ...new TestServer().options(), nacl, WebSocket });
    starling.subscribe('orders').bind('created', ({ id }) => id.toFixed());
    // @ts-expect-error There is no such event.
    starling.subscribe('orders').bind('made', () => {});
  `;
  const source =
    libs.length === 0
      ? typed
      : `${typed.replace(/^.*declare const WebSocket.*$/m, '')}\nvoid fetch; new Starling('key', { fetch, WebSocket });`;
  expect(await typeFaults(folder, source, libs)).toBe('');
});
