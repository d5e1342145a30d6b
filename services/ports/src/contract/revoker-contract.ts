/** What every revoker must do. */
import { limits } from '@starling/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type App, maxRevocations, maxTokenLifetimeMs, type Revocation, type Revoker } from '../index.ts';
import { type AppStoreFixture, appOf } from './app-store-contract.ts';

export interface RevokerFixture extends AppStoreFixture {
  /** Over the same apps as the store. */
  readonly revoker: Revoker;
  /** The revoker's time, in milliseconds since 1970. */
  now(): number;
}

export function revokerContract(name: string, make: () => Promise<RevokerFixture>): void {
  describe(`${name} as a revoker`, () => {
    let fixture: RevokerFixture;

    beforeEach(async () => {
      fixture = await make();
      await fixture.put(appOf('1'));
      await fixture.put(appOf('2'));
    });
    afterEach(() => fixture.close());

    const revoke = (by: Revocation['by'], id: string, at = fixture.now()) =>
      fixture.revoker.revoke('1', { by, id, at });
    const revocations = async (id = '1') =>
      [...((await fixture.store.byId(id))?.revocations ?? [])].sort((a, b) => (a.by + a.id < b.by + b.id ? -1 : 1));

    it('keeps what was revoked, of that app alone', async () => {
      const at = fixture.now();
      await revoke('user', 'u', at);
      await revoke('token', 'u', at);
      expect(await revocations()).toEqual([
        { by: 'token', id: 'u', at },
        { by: 'user', id: 'u', at },
      ]);
      expect(await revocations('2')).toEqual([]);
    });

    it('makes a new version of the app, otherwise the same, and tells of it', async () => {
      const before = (await fixture.store.byId('1')) as App;
      const heard: Array<App | undefined> = [];
      fixture.store.onChange((id, app) => {
        if (id === '1') heard.push(app);
      });
      await revoke('user', 'u');
      const after = (await fixture.store.byId('1')) as App;
      expect(after.version).toBeGreaterThan(before.version);
      expect({ ...after, version: before.version, revocations: [] }).toEqual(before);
      expect(heard.at(-1)).toEqual(after);
      expect((await fixture.store.byKey('key-1'))?.revocations).toHaveLength(1);
    });

    it('keeps one for each user, the latest', async () => {
      const at = fixture.now();
      await revoke('user', 'u', at);
      await revoke('user', 'u', at - 5);
      expect(await revocations()).toEqual([{ by: 'user', id: 'u', at }]);
      await revoke('user', 'u', at + 5);
      expect(await revocations()).toEqual([{ by: 'user', id: 'u', at: at + 5 }]);
    });

    it('keeps all that are given at once', async () => {
      await Promise.all(Array.from({ length: 20 }, (_, index) => revoke('user', `u${index}`)));
      expect(await revocations()).toHaveLength(20);
    });

    it('drops what no token can outlive', async () => {
      const longAgo = fixture.now() - maxTokenLifetimeMs - limits.tokenSkewSeconds * 1_000;
      await revoke('user', 'lasting', longAgo + 60_000);
      await revoke('user', 'over', longAgo - 60_000);
      await revoke('user', 'new');
      expect((await revocations()).map(({ id }) => id)).toEqual(['lasting', 'new']);
    });

    it('keeps so many and no more, but takes the ones it has again', async () => {
      const at = fixture.now();
      const kept = Array.from({ length: maxRevocations }, (_, index) => ({ by: 'user' as const, id: `u${index}`, at }));
      await fixture.put(appOf('1', { revocations: kept }));
      await expect(revoke('token', 'u0')).rejects.toMatchObject({ code: 'state_conflict' });
      await expect(revoke('user', 'one more')).rejects.toMatchObject({ code: 'state_conflict' });
      await revoke('user', 'u7', at + 5);
      const now = await revocations();
      expect(now).toHaveLength(maxRevocations);
      expect(now.find(({ id }) => id === 'u7')).toEqual({ by: 'user', id: 'u7', at: at + 5 });
      await fixture.revoker.revoke('2', { by: 'user', id: 'one more', at });
      expect(await revocations('2')).toHaveLength(1);
    });

    it('takes any id for what it is', async () => {
      const ids = ['__proto__', 'constructor', "'; --", '漢字 😀', 'x'.repeat(128)].sort();
      for (const id of ids) await revoke('user', id);
      expect((await revocations()).map(({ id }) => id).sort()).toEqual(ids);
    });

    it('rejects for an app that is not there', async () => {
      const refused = fixture.revoker.revoke('3', { by: 'user', id: 'u', at: fixture.now() });
      await expect(refused).rejects.toMatchObject({ code: 'app_id_unknown' });
      expect(await fixture.store.byId('3')).toBeUndefined();
    });
  });
}
