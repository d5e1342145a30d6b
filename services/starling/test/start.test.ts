import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  connectPeer,
  openProgram,
  type Program,
  readMetrics,
  type Starling,
  signedPath,
} from '../../../infra/testing/program.ts';

let program: Program;
beforeAll(() => {
  program = openProgram();
});
afterAll(() => program.close());

const event = JSON.stringify({ name: 'my-event', channel: 'my-channel', data: '{"n":1}' });

function trigger({ url, app }: Starling, body = event): Promise<Response> {
  return fetch(url + signedPath(app, 'POST', `/apps/${app.id}/events`, body), { method: 'POST', body });
}

describe('starling', () => {
  test('prints how it is used, with every setting, and its version', async () => {
    const help = program.run(['--help']);
    expect(await help.ended).toBe(0);
    expect(help.stdout()).toContain('Usage: starling <command>');
    expect(help.stdout()).toMatch(/STARLING_DRAIN_SECONDS +On shutdown/);
    const version = program.run(['--version']);
    expect(await version.ended).toBe(0);
    expect(version.stdout()).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  test.each([[['fly']], [['start', 'twice']], [['start', '--fast']], [['toString']], [['health', '--workers', '2']]])(
    'does nothing for %j but say what is wrong, and exits 2',
    async (args) => {
      const run = program.run(args);
      expect(await run.ended).toBe(2);
      expect(run.stdout()).toBe('');
      expect(run.stderr()).toMatch(/^.+\n\nUsage: starling/);
    },
  );
});

describe('starling start', () => {
  test('[OP5] has the same app after a stop and after a kill', async () => {
    const cwd = program.makeFolder();
    const first = await program.start({ cwd });
    expect(first.app.id).toMatch(/^\d+$/);
    first.child.kill('SIGKILL');
    await first.ended;
    const second = await program.start({ cwd });
    expect(second.app).toEqual(first.app);
    second.child.kill('SIGTERM');
    await second.ended;
    expect((await program.start({ cwd })).app).toEqual(first.app);
  });

  test('[AU24] what no terminal shows holds the secret and the link to the first account once', async () => {
    const cwd = program.makeFolder();
    const env = { STARLING_PUBLIC_URL: 'https://starling.example.com/rt/' };
    const first = await program.start({ cwd, env });
    const [, link = ''] = /admin +(\S+)/.exec(first.stdout()) ?? [];
    expect(link).toMatch(/^https:\/\/starling\.example\.com\/rt\/setup\?token=[\w-]{43}$/);
    expect(first.stdout()).toContain(first.app.secret);
    first.child.kill('SIGTERM');
    await first.ended;

    const second = await program.start({ cwd, env });
    expect(second.stdout()).not.toContain(first.app.secret);
    expect(second.stdout()).not.toContain('/setup?token=');
    // The link that was printed still leads where it did.
    const { search } = new URL(link);
    expect((await fetch(`${second.url}/setup${search}`)).status).toBe(200);
    expect((await trigger(second)).status).toBe(200);
  });

  test('[AU24] a first start that fails has not used up what is shown once', async () => {
    const { url } = await program.start();
    const cwd = program.makeFolder();
    const failed = program.run(['start'], { env: { STARLING_PORT: new URL(url).port }, cwd });
    expect(await failed.ended).toBe(1);
    const starling = await program.start({ cwd });
    expect(starling.app.secret).toMatch(/^[0-9a-f]{20}$/);
    expect(starling.stdout()).toContain('/setup?token=');
  });

  test('[AU25] warns where every client is believed about its own address', async () => {
    const believing = await program.start({ env: { STARLING_TRUST_PROXY: 'true' } });
    expect(believing.stdout()).toMatch(/"level":"warn".*STARLING_TRUST_PROXY=true believes what every client says/);
    const careful = await program.start({ env: { STARLING_TRUST_PROXY: '1' } });
    expect(careful.stdout()).not.toContain('STARLING_TRUST_PROXY');
  });

  test('[OP5] has the app that the environment says', async () => {
    const app = { id: '77', key: 'given-key', secret: 'given-secret' };
    const starling = await program.start({
      env: { STARLING_APP_ID: app.id, STARLING_APP_KEY: app.key, STARLING_APP_SECRET: app.secret },
    });
    expect(starling.app).toEqual(app);
    expect((await trigger(starling)).status).toBe(200);
  });

  test('[OP4] says which name looks like a setting and is none', async () => {
    const starling = await program.start({ env: { STARLING_PRT: '1', STARLING_LOG_LEVEL: 'info' } });
    expect(starling.stdout().match(/STARLING_\w+ is no setting/g)).toEqual(['STARLING_PRT is no setting']);
  });

  test('[OP4] refuses settings it cannot keep, all in one text, and exits 1', async () => {
    const run = program.run(['start'], { env: { STARLING_PORT: 'x', STARLING_APP_KEY: 'k', STARLING_TLS_CERT: '/c' } });
    expect(await run.ended).toBe(1);
    expect(run.stdout()).toBe('');
    for (const name of ['STARLING_PORT', 'STARLING_APP_ID', 'STARLING_TLS_CERT']) {
      expect(run.stderr()).toContain(`  ${name}: `);
    }
  });

  test('prints why it cannot start: a port in use, a file that is not its own', async () => {
    const { url } = await program.start();
    const taken = program.run(['start'], { env: { STARLING_PORT: new URL(url).port }, cwd: program.makeFolder() });
    expect(await taken.ended).toBe(1);
    expect(taken.stdout()).toContain('is in use: end the other program, or set STARLING_PORT');

    const cwd = program.makeFolder();
    writeFileSync(join(cwd, 'first-app.json'), '{"id":');
    const broken = program.run(['start'], { env: { STARLING_DATA_DIR: cwd }, cwd });
    expect(await broken.ended).toBe(1);
    expect(broken.stdout()).toContain(`${join(cwd, 'first-app.json')} is not the file of app credentials`);
  });

  test('serves connections and the HTTP API on one port, below its path prefix too', async () => {
    const starling = await program.start({ env: { STARLING_PATH_PREFIX: '/realtime' } });
    const base = starling.url;
    expect(base).toMatch(/\/realtime$/);
    for (const url of [base, base.replace('/realtime', '')]) {
      const peer = await connectPeer(url, starling.app.key);
      peer.socket.send('{"event":"pusher:subscribe","data":{"channel":"my-channel"}}');
      await peer.received('pusher_internal:subscription_succeeded');
      expect((await trigger({ ...starling, url })).status).toBe(200);
      expect(await peer.received('my-event')).toEqual({ event: 'my-event', channel: 'my-channel', data: '{"n":1}' });
      peer.socket.close();
      await peer.closed;
    }
  });

  test('[OP1] is ready only by a real round trip through its broker, and [OP2] counts per app', async () => {
    const starling = await program.start();
    const ready = await fetch(`${starling.url}/readyz`);
    expect(ready.status).toBe(200);
    expect(await ready.json()).toEqual({
      status: 'ready',
      checks: { broker: 'ok', presence: 'ok', apps: 'ok', database: 'ok' },
    });
    expect((await fetch(`${starling.url}/healthz`)).status).toBe(200);

    const { id, key } = starling.app;
    const peer = await connectPeer(starling.url, key);
    peer.socket.send('{"event":"pusher:subscribe","data":{"channel":"my-channel"}}');
    await peer.received('pusher_internal:subscription_succeeded');
    peer.socket.send('{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"k:00"}}');
    await peer.received('pusher:subscription_error');
    await trigger(starling);
    await peer.received('my-event');
    const metrics = await readMetrics(starling.url);
    expect(metrics).toContain(`starling_connections{app="${id}"} 1`);
    expect(metrics).toContain(`starling_subscriptions{app="${id}"} 1`);
    expect(metrics).toContain(`starling_published_total{app="${id}"} 1`);
    expect(metrics).toMatch(new RegExp(`starling_delivered_total{app="${id}"} [1-9]`));
    expect(metrics).toContain(`starling_refused_total{app="${id}",code="auth_key_unknown"} 1`);
  });

  test('[OP3] logs neither the secret nor a signature, even at its most talkative', async () => {
    const starling = await program.start({ env: { STARLING_LOG_LEVEL: 'debug' } });
    const { app, url } = starling;
    const path = signedPath(app, 'POST', `/apps/${app.id}/events`, event);
    const signature = /auth_signature=(\w+)/.exec(path)?.[1] ?? '';
    await fetch(url + path, { method: 'POST', body: event });
    await fetch(`${url}${path}x`, { method: 'POST', body: event });
    await fetch(`${url}/nowhere?${path.split('?')[1]}`);
    const peer = await connectPeer(url, app.key);
    peer.socket.send(`{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"${app.key}:${signature}"}}`);
    await peer.received('pusher:subscription_error');
    starling.child.kill('SIGTERM');
    await starling.ended;
    // The banner ends with the command that may be pasted.
    const log = starling.stdout().slice(starling.stdout().indexOf('\n)\n'));
    expect(log).toContain('"msg":"Stopped"');
    for (const hidden of [app.secret, signature]) expect(log + starling.stderr()).not.toContain(hidden);
  });

  test('[OP6] stops in order: not ready, connections told to reconnect, the request in flight answered, exit 0', async () => {
    const starling = await program.start({ env: { STARLING_DRAIN_SECONDS: '1' } });
    const { app, url } = starling;
    const peers = await Promise.all([1, 2, 3].map(() => connectPeer(url, app.key)));
    const path = signedPath(app, 'POST', `/apps/${app.id}/events`, event);
    const inFlight = request(url + path, { method: 'POST', headers: { 'content-length': event.length } });
    inFlight.write(event.slice(0, 10));
    // Answered on another connection after it, so it has arrived.
    await fetch(`${url}/healthz`);

    starling.child.kill('SIGTERM');
    await starling.said('"msg":"Stopping"');
    expect((await fetch(`${url}/readyz`)).status).toBe(503);
    for (const peer of peers) {
      expect(await peer.received('pusher:error')).toMatchObject({ data: { code: 4100 } });
      expect(await peer.closed).toBe(4100);
    }
    inFlight.end(event.slice(10));
    const [response] = await once(inFlight, 'response');
    expect(response.statusCode).toBe(200);
    response.resume();
    expect(await starling.ended).toBe(0);
    expect(starling.stdout()).toContain('"msg":"Stopped"');
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
  });

  test('[OP6] SIGINT stops it too; the same Ctrl-C again through npm is not a second wish, but a later one is', async () => {
    const idle = await program.start();
    idle.child.kill('SIGINT');
    idle.child.kill('SIGINT');
    expect(await idle.ended).toBe(0);

    const busy = await program.start({ env: { STARLING_DRAIN_SECONDS: '600' } });
    await Promise.all([1, 2, 3].map(() => connectPeer(busy.url, busy.app.key)));
    // A key that is held down.
    const repeat = setInterval(() => busy.child.kill('SIGINT'), 50);
    const began = performance.now();
    expect(await busy.ended).toBe(130);
    clearInterval(repeat);
    expect(performance.now() - began).toBeGreaterThan(450);
  });

  test('[OP6] stops when npm, asked to stop, took only the shell between them with it', async () => {
    const starling = await program.start({ belowShell: true, env: { npm_lifecycle_event: 'start' } });
    starling.child.kill('SIGTERM');
    // Its output ends when the last of those who write to it has.
    await starling.ended;
    expect(starling.stdout()).toContain('"msg":"Stopped"');
  });
});

describe.each(['edge', 'api'])('starling %s', (part) => {
  test('[OP4] refuses to start without a Redis and an app, and says what to do', async () => {
    const run = program.run([part]);
    expect(await run.ended).toBe(1);
    expect(run.stdout()).toBe('');
    for (const name of ['REDIS_URL', 'STARLING_APP_ID', 'STARLING_APP_KEY', 'STARLING_APP_SECRET']) {
      expect(run.stderr()).toContain(`  ${name}: must be given`);
    }
  });
});

describe('starling health', () => {
  test('is 0 while the Starling of these settings is alive, else 1', async () => {
    const { url } = await program.start();
    const env = { STARLING_PORT: new URL(url).port };
    expect(await program.run(['health'], { env }).ended).toBe(0);
    const dead = program.run(['health'], { env: { STARLING_PORT: '1' } });
    expect(await dead.ended).toBe(1);
    expect(dead.stderr()).toContain('ECONNREFUSED');
  });
});
