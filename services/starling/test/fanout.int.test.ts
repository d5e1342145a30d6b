/** The built program finds the native fan-out where the build put it, and does without it where that is not. */
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findCompiler } from '../../../infra/testing/native-fanout.ts';
import { connectPeer, openProgram, type Program, signedPath } from '../../../infra/testing/program.ts';

const fanout = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'fanout');
let program: Program;
beforeAll(() => {
  // Where a build puts it, not in a folder of its own: that is what the program has to find.
  execFileSync(process.execPath, ['build.mjs', 'dist/fanout.node', findCompiler()], { cwd: fanout });
  program = openProgram();
});
afterAll(() => program.close());

test.each([
  ['native', {}, /"path":"native"/],
  ['plain', { STARLING_FANOUT: 'js' }, /"path":"js","reason":"chosen"/],
])('the program delivers through its %s fan-out, and says that it does', async (_path, env, line) => {
  const { url, app, said } = await program.start({ env });
  await said(line);
  const peers = await Promise.all([connectPeer(url, app.key), connectPeer(url, app.key)]);
  for (const { socket, received } of peers) {
    socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'news' } }));
    await received('pusher_internal:subscription_succeeded');
  }
  const body = JSON.stringify({ name: 'my-event', channel: 'news', data: 'hello' });
  await fetch(url + signedPath(app, 'POST', `/apps/${app.id}/events`, body), { method: 'POST', body });
  for (const { received } of peers)
    expect(await received('my-event')).toMatchObject({ channel: 'news', data: 'hello' });
});
