/** The app store of a worker: the apps are kept by another, real process. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { LineAppStore, serveApps } from '@starling/adapters/process';
import type { App, AppStore } from '@starling/ports';
import { appOf, appStoreContract, revokerContract } from '@starling/ports/contract';
import { createLog, Line, PinoObserver } from '@starling/runtime';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

let keeper: ChildProcess;
let line: Line;
beforeAll(() => {
  const program = fileURLToPath(new URL('keeper.test-kit.ts', import.meta.url));
  keeper = fork(program, { execArgv: ['--import', 'tsx'], serialization: 'advanced' });
  line = new Line(keeper, new PinoObserver(createLog({ level: 'info', isReadable: true })));
});
afterAll(() => void keeper.kill('SIGKILL'));

/** Nothing of this is expected. */
const observer = {
  problem: (what: string) => expect.unreachable(what),
  defect: (kind: string) => expect.unreachable(kind),
};

const make = async () => {
  await line.ask('begin anew', undefined, 20_000);
  const store = new LineAppStore(line, observer);
  return {
    store,
    revoker: store,
    now: Date.now,
    put: async (app: App) => void (await line.ask('put', app)),
    remove: async (id: string) => void (await line.ask('remove', id)),
    close: async () => undefined,
  };
};

appStoreContract('LineAppStore', make);
revokerContract('LineAppStore', make);

/** Both ends in this process, every step of the way between them in the test's hands. */
function makeWatched() {
  const asked: unknown[] = [];
  const listeners = new Set<Parameters<AppStore['onChange']>[0]>();
  const ways = {
    answer: (_about: unknown): unknown => undefined,
    hear: (_about: unknown): void => undefined,
  };
  const given: Array<(app: App | undefined) => void> = [];
  const look = () =>
    new Promise<App | undefined>((resolve) => {
      given.push(resolve);
    });
  const onChange: AppStore['onChange'] = (listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
  const end = serveApps(
    { byId: look, byKey: look, onChange, revoke: async () => undefined },
    {
      answer: (what, answer) => {
        if (what === 'app') ways.answer = answer;
      },
      tell: (_what, about) => ways.hear(about),
    },
  );
  const store = new LineAppStore(
    {
      ask: async (_what, about) => {
        asked.push(about);
        return ways.answer(about);
      },
      heed: (_what, listener) => {
        ways.hear = listener;
      },
    },
    observer,
  );
  const change = (id: string, app?: App) => {
    for (const listener of listeners) listener(id, app);
  };
  return { store, asked, given, end, change };
}

describe('LineAppStore', () => {
  test('asks once for each app, whatever it is asked by', async () => {
    const { store, asked, given } = makeWatched();
    const looking = store.byKey('key-1');
    await Promise.resolve();
    given.shift()?.(appOf('1'));
    await looking;
    await store.byKey('key-1');
    await store.byId('1');
    expect(asked).toEqual([{ by: 'key', value: 'key-1' }]);
  });

  test('does not keep an answer that a change has overtaken, but asks again', async () => {
    const { store, asked, given, change } = makeWatched();
    const looking = store.byKey('key-1');
    await Promise.resolve();
    // The keeper has looked, and not yet answered.
    change('1', appOf('1', { isEnabled: false }));
    given.shift()?.(appOf('1'));
    await expect.poll(() => given.length).toBe(1);
    given.shift()?.(appOf('1', { isEnabled: false }));
    expect((await looking)?.isEnabled).toBe(false);
    expect((await store.byId('1'))?.isEnabled).toBe(false);
    expect(asked).toHaveLength(2);
  });

  test('is told nothing more after the end, as when the worker is gone', async () => {
    const { store, end, change } = makeWatched();
    const heard: string[] = [];
    store.onChange((id) => heard.push(id));
    change('1', appOf('1'));
    end();
    change('2', appOf('2'));
    expect(heard).toEqual(['1']);
  });
});
