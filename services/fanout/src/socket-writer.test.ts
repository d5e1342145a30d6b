import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { openSocketWriter } from './open-socket-writer.ts';
import { proveSocketWriter } from './socket-writer.test-kit.ts';
import { StreamSocketWriter } from './socket-writer.ts';

describe('the writer through streams', () => {
  proveSocketWriter(() => new StreamSocketWriter());
});

const folder = mkdtempSync(join(tmpdir(), 'starling-fanout-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('the choice of a writer', () => {
  it('is the plain one where that is asked for', () => {
    expect(openSocketWriter('js')).toMatchObject({ path: 'js', reason: 'chosen' });
  });

  it('is the plain one where the native module was not built', () => {
    expect(openSocketWriter('auto', '/nowhere/fanout.node')).toMatchObject({ path: 'js', reason: 'not built' });
  });

  it('is the plain one where the native module is no module of this machine, and says so', () => {
    const file = join(folder, 'fanout.node');
    writeFileSync(file, 'for another machine');
    expect(openSocketWriter('auto', file)).toMatchObject({
      path: 'js',
      reason: expect.stringContaining('fanout.node'),
    });
  });
});

describe('the build', () => {
  it.each(['no-such-compiler', 'false'])(
    'says why in one line, and is content, where the compiler is `%s`',
    (compiler) => {
      const room = dirname(dirname(fileURLToPath(import.meta.url)));
      const target = mkdtempSync(join(folder, 'dist-'));
      writeFileSync(join(target, 'fanout.node'), 'of an earlier build');
      const args = [join(room, 'build.mjs'), join(target, 'fanout.node'), compiler];
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      expect(status).toBe(0);
      expect(stdout).toMatch(new RegExp(`^The native fan-out is not built \\(.*${compiler}.*\\): .+\n$`));
      expect(stderr).toBe('');
      expect(readdirSync(target)).toEqual([]);
    },
  );
});
