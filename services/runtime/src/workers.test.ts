import { fork } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createLog, PinoObserver } from './log.ts';
import { type OwnPort, openPort } from './port.ts';
import { StartError } from './start-error.ts';
import { Workers, type WorkersOptions } from './workers.ts';

const folder = mkdtempSync(join(tmpdir(), 'starling-workers-'));
afterAll(() => rmSync(folder, { recursive: true }));

function script(name: string, text: string): string {
  const path = join(folder, `${name}.mjs`);
  writeFileSync(path, text);
  return path;
}

const answers = `process.on('message', ({ starling, id }) => starling === 'ask' && process.send({ starling: 'answer', id, value: true }));`;
const serving = `${answers} process.send({ starling: 'news', what: 'ready', about: 'http://here' }); setInterval(() => {}, 1_000);`;
const good = script('good', serving);
const failing = script('failing', 'process.exit(3)');
const dying = script('dying', `process.kill(process.pid, 'SIGKILL'); setInterval(() => {}, 1_000);`);
/** Loads for ever. */
const silent = script('silent', `process.on('SIGTERM', () => process.exit()); setInterval(() => {}, 1_000);`);
const hanging = script('hanging', `${serving} setTimeout(() => { for (;;); }, 50);`);
const stubborn = script('stubborn', `process.on('SIGTERM', () => {}); ${serving}`);

interface LogLine {
  readonly msg: string;
  readonly level: string;
  readonly worker?: number;
  readonly pid?: number;
  readonly ended?: string;
  readonly pauseMs?: number;
  readonly unanswered?: number;
}

class Said {
  readonly lines: LogLine[] = [];
  #wake: () => void = () => {};

  readonly log = createLog({
    level: 'info',
    isReadable: false,
    destination: {
      write: (line) => {
        this.lines.push(JSON.parse(line));
        this.#wake();
      },
    },
  });

  /** Resolves with the first so many lines that begin so. */
  async first(count: number, start: string): Promise<LogLine[]> {
    for (;;) {
      const found = this.lines.filter(({ msg }) => msg.startsWith(start));
      if (found.length >= count) return found;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

let said: Said;
let workers: Workers;
let givenUp: Promise<void>;
let open: number;
let port: OwnPort;

function make(programOf: (number: number, start: number) => string, options: Partial<WorkersOptions> = {}): Workers {
  let starts = 0;
  givenUp = new Promise((resolve) => {
    workers = new Workers({
      count: 2,
      observer: new PinoObserver(said.log),
      stopLimitMs: 10_000,
      onGivenUp: resolve,
      onStarted: () => {
        open++;
        return () => open--;
      },
      port,
      start: (number, env) =>
        fork(programOf(number, ++starts), {
          serialization: 'advanced',
          stdio: 'ignore',
          env: { ...process.env, ...env },
        }),
      restarts: { firstPauseMs: 1, longestPauseMs: 4 },
      ...options,
    });
  });
  return workers;
}

beforeEach(async () => {
  said = new Said();
  open = 0;
  port = await openPort({ host: '127.0.0.1', port: 0 });
});
afterEach(async () => {
  await workers.stop();
  await port.close();
});

describe('Workers', () => {
  test('says that they serve when all of them do, and stops all of them', async () => {
    make(() => good, { count: 3 });
    expect(await workers.start()).toBe('http://here');
    expect(workers.channels).toHaveLength(3);
    expect(said.lines.map(({ worker }) => worker).sort()).toEqual([1, 2, 3]);
    await workers.stop();
    expect(workers.channels).toHaveLength(0);
    expect(open).toBe(0);
    for (const { pid = 0 } of said.lines) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });

  test('starts no others when the first one cannot start, and leaves none behind when a later one cannot', async () => {
    make(() => failing);
    await expect(workers.start()).rejects.toThrow(
      new StartError('worker 1 ended before it was ready, with exit code 3'),
    );
    expect(open).toBe(0);
    const another = await openPort({ host: '127.0.0.1', port: 0 });
    make((number) => (number === 2 ? failing : good), { count: 3, port: another });
    await expect(workers.start()).rejects.toThrow('worker 2 ended before it was ready');
    expect(open).toBe(0);
  });

  test('[OP9] puts another in the place of one that died, later each time it dies young', async () => {
    make(() => good);
    await workers.start();
    for (let round = 1; round <= 4; round++) {
      const ready = await said.first(1 + round, 'A worker is ready');
      const { pid = 0 } = ready.filter(({ worker }) => worker === 2).at(-1) ?? {};
      process.kill(pid, 'SIGKILL');
      await said.first(round, 'A worker died');
      await said.first(2 + round, 'A worker is ready');
    }
    const deaths = await said.first(4, 'A worker died');
    expect(deaths).toMatchObject(
      [1, 2, 4, 4].map((pauseMs) => ({ level: 'error', worker: 2, ended: 'SIGKILL', pauseMs })),
    );
    expect(workers.restartCount).toBe(4);
    expect(workers.channels).toHaveLength(2);
    expect(open).toBe(2);
  });

  test('[OP9] counts anew after a long life', async () => {
    make(() => good, { count: 1, restarts: { firstPauseMs: 1, longestPauseMs: 100, longLifeMs: 0 } });
    await workers.start();
    for (let round = 1; round <= 3; round++) {
      const ready = await said.first(round, 'A worker is ready');
      process.kill(ready.at(-1)?.pid ?? 0, 'SIGKILL');
      await said.first(1 + round, 'A worker is ready');
    }
    expect(await said.first(3, 'A worker died')).toMatchObject([{ pauseMs: 1 }, { pauseMs: 1 }, { pauseMs: 1 }]);
  });

  test('[OP9] gives up, loudly, when one dies again and again and no other serves', async () => {
    make((_number, start) => (start === 1 ? good : failing), {
      count: 1,
      restarts: { firstPauseMs: 1, longestPauseMs: 4, shortLives: 4 },
    });
    await workers.start();
    process.kill(said.lines[0]?.pid ?? 0, 'SIGKILL');
    await givenUp;
    expect(said.lines.at(-1)).toMatchObject({ level: 'fatal', msg: expect.stringContaining('giving up'), inARow: 4 });
    expect(open).toBe(0);
  });

  test('[OP9] goes on trying while another serves', async () => {
    make((number, start) => (number === 1 || start === 2 ? good : failing), {
      restarts: { firstPauseMs: 1, longestPauseMs: 4, shortLives: 3 },
    });
    await workers.start();
    const [, second] = await said.first(2, 'A worker is ready');
    process.kill(second?.pid ?? 0, 'SIGKILL');
    await said.first(6, 'A worker died');
    expect(said.lines.some(({ level }) => level === 'fatal')).toBe(false);
    expect(workers.channels).toHaveLength(1);
  });

  test('[OP6] kills one that does not stop, and says so', async () => {
    make(() => stubborn, { count: 1, stopLimitMs: 50 });
    await workers.start();
    await workers.stop();
    expect(said.lines.at(-1)).toMatchObject({ level: 'error', msg: 'Killed: did not stop in time' });
    expect(open).toBe(0);
  });

  test('[OP9] puts another in the place of one that dies while others still start, and says so', async () => {
    make((number, start) => (number === 1 && start === 1 ? good : number === 2 && start === 2 ? dying : good), {
      count: 3,
    });
    expect(await workers.start()).toBe('http://here');
    expect(workers.channels).toHaveLength(3);
    expect(said.lines.filter(({ msg }) => msg.startsWith('A worker died'))).toMatchObject([{ worker: 2 }]);
  });

  test('[OP9] starts the first again when something else ended it before it served', async () => {
    make((_number, start) => (start === 1 ? dying : good));
    expect(await workers.start()).toBe('http://here');
    expect(workers.restartCount).toBe(1);
  });

  test('[OP9] puts another in the place of the first that dies while the second still starts', async () => {
    make((number, start) => (number === 1 ? good : start === 2 ? silent : good), { count: 2 });
    const started = workers.start();
    const [first] = await said.first(1, 'A worker is ready');
    process.kill(first?.pid ?? 0, 'SIGKILL');
    await said.first(2, 'A worker is ready');
    expect(workers.channels).toHaveLength(1);
    await workers.stop();
    await expect(started).rejects.toThrow('stopped before all workers served');
  });

  test('[OP23] kills one that hangs, and puts another in its place; who answers late is no such one', async () => {
    make((_number, start) => (start === 1 ? hanging : good), { count: 1, heartbeat: { everyMs: 20, missed: 3 } });
    await workers.start();
    await said.first(1, 'A worker hangs');
    const [, second] = await said.first(2, 'A worker is ready');
    expect(await said.first(1, 'A worker died')).toMatchObject([{ ended: 'SIGKILL' }]);
    expect(second?.pid).toBeGreaterThan(0);
    expect(said.lines.filter(({ msg }) => msg.startsWith('A worker hangs'))).toHaveLength(1);
  });

  test('[OP23] kills one that hangs before it serves', async () => {
    make((_number, start) => (start === 1 ? silent : good), {
      count: 1,
      heartbeat: { everyMs: 200, missed: 3, missedAtStart: 5 },
    });
    expect(await workers.start()).toBe('http://here');
    expect(await said.first(1, 'A worker hangs')).toMatchObject([{ worker: 1, unanswered: 5 }]);
  });
});
