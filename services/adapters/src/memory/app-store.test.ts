import type { App } from '@starling/ports';
import { appOf, appStoreContract, revokerContract } from '@starling/ports/contract';
import { describe, expect, it } from 'vitest';
import { MemoryAppStore } from './app-store.ts';

const make = async () => {
  const now = () => Date.UTC(2026, 0, 1);
  const store = new MemoryAppStore([], now);
  return {
    store,
    revoker: store,
    now,
    put: async (app: App) => store.put(app),
    remove: async (id: string) => store.remove(id),
    close: async () => undefined,
  };
};

appStoreContract('MemoryAppStore', make);
revokerContract('MemoryAppStore', make);

describe('MemoryAppStore', () => {
  it('holds the apps it is made with', async () => {
    const store = new MemoryAppStore([appOf('1'), appOf('2')]);
    expect((await store.byKey('key-2'))?.id).toBe('2');
  });

  it('refuses a key of another app, and changes nothing', async () => {
    const store = new MemoryAppStore([appOf('1'), appOf('2')]);
    const thief = appOf('2', { keys: [...appOf('2').keys, ...appOf('1').keys] });
    expect(() => store.put(thief)).toThrow('App 1 has a key of app 2');
    expect((await store.byKey('key-1'))?.id).toBe('1');
    expect((await store.byKey('key-2'))?.keys).toHaveLength(1);
  });

  it.each(['', 'a', '1:2', '1 ', '-1', '1\n'])('refuses the app id %j: topics are made of ids', (id) => {
    expect(() => new MemoryAppStore([appOf(id)])).toThrow('decimal digits');
  });

  it('takes one function given twice for two listeners', () => {
    const store = new MemoryAppStore();
    const heard: string[] = [];
    const listener = (id: string): void => {
      heard.push(id);
    };
    const end = store.onChange(listener);
    store.onChange(listener);
    end();
    store.put(appOf('1'));
    expect(heard).toEqual(['1']);
  });
});
