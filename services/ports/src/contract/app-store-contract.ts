/** What every app store must do. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type App, type AppStore, defaultAppLimits, defaultTokenSettings } from '../index.ts';

export interface AppStoreFixture {
  /** Empty at first. */
  readonly store: AppStore;
  /** Adds or changes an app, as an administrator would; resolved when the store has been told. */
  put(app: App): Promise<void>;
  remove(id: string): Promise<void>;
  close(): Promise<void>;
}

/** An app as the tests of any room may want one: its key is `key-ID`, its secret `secret-ID`. */
export function appOf(id: string, changes: Partial<App> = {}): App {
  return {
    id,
    version: 1,
    name: `app ${id}`,
    isEnabled: true,
    keys: [{ key: `key-${id}`, secret: `secret-${id}`, isEnabled: true }],
    hasClientEvents: false,
    hasSubscriptionCounts: false,
    hasWatchlists: false,
    admitsAuthorizedOnly: false,
    requiresTls: false,
    hidesData: false,
    allowedOrigins: [],
    tokens: defaultTokenSettings,
    revocations: [],
    limits: defaultAppLimits,
    ...changes,
  };
}

export function appStoreContract(name: string, make: () => Promise<AppStoreFixture>): void {
  describe(`${name} as an app store`, () => {
    let fixture: AppStoreFixture;
    let store: AppStore;

    beforeEach(async () => {
      fixture = await make();
      store = fixture.store;
    });
    afterEach(() => fixture.close());

    const keyOf = (key: string, isEnabled = true) => ({ key, secret: `secret of ${key}`, isEnabled });

    it('finds an app by its id and by any of its keys, disabled ones too', async () => {
      const app = appOf('1', { keys: [keyOf('old', false), keyOf('new')] });
      await fixture.put(app);
      await fixture.put(appOf('2'));
      expect(await store.byId('1')).toEqual(app);
      expect(await store.byKey('old')).toEqual(app);
      expect(await store.byKey('new')).toEqual(app);
      expect((await store.byKey('key-2'))?.id).toBe('2');
    });

    it('finds a disabled app: who asks decides what that means', async () => {
      await fixture.put(appOf('1', { isEnabled: false }));
      expect((await store.byId('1'))?.isEnabled).toBe(false);
    });

    it('has nothing under a name it was never given', async () => {
      await fixture.put(appOf('1'));
      for (const name of ['', '2', '01', 'KEY-1', ' key-1', '__proto__', 'constructor', 'toString', '*']) {
        expect(await store.byId(name)).toBeUndefined();
        expect(await store.byKey(name)).toBeUndefined();
      }
      expect(await store.byKey('1')).toBeUndefined();
      expect(await store.byId('key-1')).toBeUndefined();
    });

    it('keeps the order of the keys and every setting', async () => {
      const app = appOf('1', {
        keys: [keyOf('c'), keyOf('a'), keyOf('b')],
        hasClientEvents: true,
        hasSubscriptionCounts: true,
        hasWatchlists: true,
        admitsAuthorizedOnly: true,
        requiresTls: true,
        hidesData: true,
        allowedOrigins: ['https://*.example.com', 'example.org'],
        tokens: {
          isEnabled: false,
          jwksUrl: 'https://id.example.com/jwks',
          issuer: 'https://id.example.com',
          audience: 'a',
        },
        // Of now: a store may drop those under which no token can be alive.
        revocations: [{ by: 'user', id: 'u', at: Date.now() }],
        limits: { ...defaultAppLimits, connections: 3, eventDataBytes: 17 },
      });
      await fixture.put(app);
      expect(await store.byId('1')).toEqual(app);
    });

    it('tells of an app that was added, changed and removed, when the answers say so already', async () => {
      const heard: unknown[] = [];
      store.onChange((id, app) => {
        heard.push([id, app?.name, store.byId(id)]);
      });
      await fixture.put(appOf('1'));
      await fixture.put(appOf('1', { name: 'renamed' }));
      await fixture.remove('1');
      const answers = await Promise.all(
        heard.map(async (entry) => {
          const [id, name, answer] = entry as [string, string | undefined, Promise<App | undefined>];
          return [id, name, (await answer)?.name];
        }),
      );
      expect(answers).toEqual([
        ['1', 'app 1', 'app 1'],
        ['1', 'renamed', 'renamed'],
        ['1', undefined, undefined],
      ]);
    });

    it('forgets a key that was taken away, and lets another app have it', async () => {
      await fixture.put(appOf('1', { keys: [keyOf('old'), keyOf('kept')] }));
      await fixture.put(appOf('1', { keys: [keyOf('kept'), keyOf('new')] }));
      expect(await store.byKey('old')).toBeUndefined();
      expect((await store.byKey('kept'))?.keys).toHaveLength(2);
      expect((await store.byKey('new'))?.id).toBe('1');
      await fixture.put(appOf('2', { keys: [keyOf('old')] }));
      expect((await store.byKey('old'))?.id).toBe('2');
    });

    it('forgets an app that was removed, with all its keys', async () => {
      await fixture.put(appOf('1'));
      await fixture.put(appOf('2'));
      await fixture.remove('1');
      expect(await store.byId('1')).toBeUndefined();
      expect(await store.byKey('key-1')).toBeUndefined();
      expect((await store.byId('2'))?.id).toBe('2');
    });

    it('tells each listener until its end, and no longer', async () => {
      const first: string[] = [];
      const second: string[] = [];
      const endFirst = store.onChange((id) => first.push(id));
      store.onChange((id) => second.push(id));
      await fixture.put(appOf('1'));
      endFirst();
      endFirst();
      await fixture.put(appOf('2'));
      expect(first).toEqual(['1']);
      expect(second).toEqual(['1', '2']);
    });

    it('does not tell of a removal where there was no app', async () => {
      const heard: string[] = [];
      store.onChange((id) => heard.push(id));
      await fixture.remove('1');
      await fixture.put(appOf('2'));
      expect(heard).toEqual(['2']);
    });
  });
}
