import { describe, expect, onTestFinished, test } from 'vitest';
import { openMetricsServer } from './metrics-server.ts';
import { StartError } from './start-error.ts';

async function open(options: { token?: string; read?: () => Promise<string>; port?: number } = {}) {
  const defects: unknown[] = [];
  const text = { contentType: 'text/plain', read: options.read ?? (async () => 'starling 1') };
  const observer = { defect: (_kind: string, err: unknown) => void defects.push(err) };
  const server = await openMetricsServer({
    text,
    token: options.token,
    host: '127.0.0.1',
    port: options.port ?? 0,
    observer,
  });
  onTestFinished(() => server.close());
  return { url: server.url, defects };
}

describe('[OP2] the port of the metrics', () => {
  test('serves them and nothing else', async () => {
    const { url } = await open();
    expect(await (await fetch(`${url}/metrics?x=1`)).text()).toBe('starling 1');
    for (const path of ['/', '/healthz', '/metrics/', '/apps/1/channels']) {
      expect((await fetch(url + path)).status).toBe(404);
    }
    expect((await fetch(`${url}/metrics`, { method: 'POST' })).status).toBe(404);
  });

  test('asks for the token where there is one', async () => {
    const { url } = await open({ token: 'a-token-of-metrics' });
    expect((await fetch(`${url}/metrics`)).status).toBe(401);
    const headers = { authorization: 'bearer a-token-of-metrics' };
    expect((await fetch(`${url}/metrics`, { headers })).status).toBe(200);
  });

  test('reads once for all who ask meanwhile', async () => {
    let reads = 0;
    let finish: (text: string) => void = () => {};
    const read = () => {
      reads++;
      return new Promise<string>((resolve) => {
        finish = resolve;
      });
    };
    const { url } = await open({ read });
    const answers = Array.from({ length: 20 }, () => fetch(`${url}/metrics`));
    await expect.poll(() => reads).toBe(1);
    // All of them are there when one that came after them is.
    await fetch(`${url}/other`);
    finish('numbers');
    const texts = await Promise.all(answers.map(async (answer) => (await answer).text()));
    expect(new Set(texts)).toEqual(new Set(['numbers']));
    expect(reads).toBe(1);
  });

  test('[OP12] that cannot be read costs the one request', async () => {
    const { url, defects } = await open({ read: () => Promise.reject(new Error('broken')) });
    await expect(fetch(`${url}/metrics`)).rejects.toThrow();
    await expect(fetch(`${url}/metrics`)).rejects.toThrow();
    expect(defects).toHaveLength(2);
  });

  test('says which setting to change when it is taken', async () => {
    const { url } = await open();
    const port = Number(new URL(url).port);
    await expect(open({ port })).rejects.toThrow(
      new StartError(`port ${port} of 127.0.0.1 is in use: end the other program, or set STARLING_METRICS_PORT`),
    );
  });
});
