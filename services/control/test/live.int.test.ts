/** What the admin API tells of this moment, and what it keeps of the moments before. */
import { FakeClock } from '@starling/adapters/memory';
import { databaseOf } from '@starling/database/test-kit';
import { channelTopic, type MinuteOfUse } from '@starling/ports';
import { reportOf } from '@starling/ports/contract';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { recordUse } from '../src/use.ts';
import { ourApp, ourKey, people, type Started, startControl, theirApp } from './started-control.ts';

const minuteMs = 60_000;
const startMs = Date.parse('2026-03-01T23:58:20Z');
const minuteOf = (at: number, count: number): MinuteOfUse => ({
  at,
  peakConnections: count,
  messagesIn: count,
  bytesIn: 10 * count,
  messagesOut: 100 * count,
  bytesOut: 1_000 * count,
  refused: count,
});
const shown = (at: number, count: number) => ({
  at: new Date(at).toISOString(),
  connectionsPeak: count,
  messagesIn: count,
  bytesIn: 10 * count,
  messagesOut: 100 * count,
  bytesOut: 1_000 * count,
  refused: count,
});

describe('the operations', () => {
  const database = databaseOf();
  let clock: FakeClock;
  let control: Started;
  beforeEach(async () => {
    clock = new FakeClock(startMs);
    control = await startControl(database, { clock });
  });
  afterEach(async () => {
    expect(control.problems).toEqual([]);
    await control.close();
  });
  const current = startMs - (startMs % minuteMs);
  const report = (nodeId: string, appId: string, minutes: readonly MinuteOfUse[], connections = 1) =>
    control.directory.report(reportOf(nodeId, { apps: [{ appId, connections, subscriptions: 2, minutes }] }));

  test('[AD15] figures are those of all nodes, and of this app alone', async () => {
    await report('a', ourApp, [minuteOf(current - minuteMs, 1), minuteOf(current, 2)], 3);
    await report('b', ourApp, [minuteOf(current, 5)], 4);
    await report('c', theirApp, [minuteOf(current, 70)], 70);
    expect((await control.call('viewer', 'GET', `/apps/${ourApp}/figures`)).json).toEqual({
      nodes: 2,
      connections: 7,
      subscriptions: 4,
      lastMinute: shown(current - minuteMs, 1),
      currentMinute: shown(current, 7),
    });
  });

  test('[AD15] channels are listed by name, a page at a time, with their counts; presence channels with who is there', async () => {
    const { presenceStore } = control;
    const member = (userId: string) => ({ userId, userInfo: JSON.stringify({ name: userId }) });
    await presenceStore.join({ topic: channelTopic(ourApp, 'presence-a'), socketId: '1.1', member: member('ada') });
    await presenceStore.join({ topic: channelTopic(ourApp, 'presence-a'), socketId: '1.2', member: member('ada') });
    await presenceStore.join({ topic: channelTopic(ourApp, 'b'), socketId: '1.1' });
    await presenceStore.join({ topic: channelTopic(theirApp, 'theirs'), socketId: '2.1' });
    const first = (await control.call('developer', 'GET', `/apps/${ourApp}/channels?limit=1`)).json;
    expect(first.items).toEqual([{ name: 'b', connectionCount: 1, userCount: 0 }]);
    const next = `/apps/${ourApp}/channels?limit=1&cursor=${first.nextCursor}`;
    expect((await control.call('developer', 'GET', next)).json).toEqual({
      items: [{ name: 'presence-a', connectionCount: 2, userCount: 1 }],
      nextCursor: null,
    });
    const members = await control.call('developer', 'GET', `/apps/${ourApp}/channels/presence-a/members`);
    expect(members.json.items).toEqual([{ userId: 'ada', userInfo: { name: 'ada' } }]);
  });

  test('[AD15] nodes are shown to operators of the installation and nobody else', async () => {
    await control.directory.report(reportOf('a', { startedAt: startMs - 5_500, host: 'h' }));
    expect((await control.call('owner', 'GET', '/nodes')).json.items).toMatchObject([
      { id: 'a', host: 'h', version: '1.2.3', uptimeSeconds: 5, connections: 7, parts: ['edge', 'api'] },
    ]);
    // Where it says for how long it has run, its wall clock and ours do not count.
    await control.directory.report(reportOf('a', { startedAt: startMs + 3_600_000, uptimeSeconds: 70 }));
    expect((await control.call('owner', 'GET', '/nodes')).json.items).toMatchObject([{ id: 'a', uptimeSeconds: 70 }]);
    for (const person of ['admin', 'stranger'] as const) {
      expect(await control.call(person, 'GET', '/nodes')).toMatchObject({ status: 403 });
    }
  });

  test('[AD16] use is kept by minute, hour and day, and counted once however often it is reported', async () => {
    const record = () => recordUse({ database, nodes: control.directory, clock });
    const usage = async (by: string) =>
      (await control.call('viewer', 'GET', `/apps/${ourApp}/usage?by=${by}`)).json.items;
    await report('a', ourApp, [minuteOf(current - minuteMs, 1), minuteOf(current, 2)]);
    await report('b', ourApp, [minuteOf(current, 5)]);
    await report('c', '999', [minuteOf(current, 9)]);
    await record();
    await record();
    await report('a', ourApp, [minuteOf(current, 3)]);
    await Promise.all([record(), record()]);
    expect(await usage('minute')).toEqual([shown(current - minuteMs, 1), shown(current, 8)]);
    const hour = Date.parse('2026-03-01T23:00:00Z');
    expect(await usage('hour')).toEqual([{ ...shown(hour, 9), connectionsPeak: 8 }]);
    expect(await usage('day')).toEqual([{ ...shown(Date.parse('2026-03-01'), 9), connectionsPeak: 8 }]);

    clock.advance(2 * minuteMs);
    await report('a', ourApp, [minuteOf(current + 2 * minuteMs, 4)]);
    await record();
    expect(await usage('hour')).toHaveLength(2);
    expect((await usage('day')).map(({ messagesIn }: { messagesIn: number }) => messagesIn)).toEqual([9, 4]);
  });

  test('[AD16] a key says when it was used last, on whichever node', async () => {
    const record = () => recordUse({ database, nodes: control.directory, clock });
    const lastUsed = async () => (await control.call('viewer', 'GET', `/apps/${ourApp}/keys`)).json.items[0].lastUsedAt;
    const app = { appId: ourApp, connections: 1, subscriptions: 0, minutes: [minuteOf(current, 1)] };
    const uses = (nodeId: string, appId: string, at: number) =>
      control.directory.report(reportOf(nodeId, { apps: [{ ...app, appId, keyUses: { [ourKey]: at, gone: at } }] }));
    expect(await lastUsed()).toBeNull();
    await uses('a', ourApp, startMs - 5_000);
    await uses('b', ourApp, startMs - 1_000);
    await uses('c', theirApp, startMs);
    await record();
    await uses('b', ourApp, startMs - 9_000);
    await record();
    expect(await lastUsed()).toBe(new Date(startMs - 1_000).toISOString());
  });

  test('[AD16] minutes are dropped after two days, their hours stay', async () => {
    await report('a', ourApp, [minuteOf(current, 2)]);
    await recordUse({ database, nodes: control.directory, clock });
    clock.advance(49 * 60 * minuteMs);
    await recordUse({ database, nodes: control.directory, clock });
    expect(await database.sql`select 1 from usage_minutes`).toHaveLength(0);
    expect(await database.sql`select messages_in from usage_hours`).toHaveLength(1);
  });

  describe('the debug stream', () => {
    const path = `/api/v1/apps/${ourApp}/debug`;
    const open = async (query = '', person: keyof typeof people = 'developer') => {
      const address = await control.server.listen({ host: '127.0.0.1', port: 0 });
      const stop = new AbortController();
      const answer = await fetch(`${address}${path}${query}`, {
        headers: { authorization: `Test ${people[person]}` },
        signal: stop.signal,
      });
      const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      /** Until so many events have come. */
      const events = async (count: number): Promise<unknown[]> => {
        for (;;) {
          const found = [...text.matchAll(/(?<!^event: \w+\n)^data: (.*)$/gm)].map((match) =>
            JSON.parse(match[1] ?? ''),
          );
          if (found.length >= count) return found;
          const { value, done } = (await reader?.read()) ?? { done: true, value: undefined };
          if (done) throw new Error(`The stream ended; it had said ${JSON.stringify(text)}`);
          text += value;
        }
      };
      return { answer, events, stop: () => stop.abort() };
    };
    const tell = (entry: { what: string } & Record<string, unknown>) => {
      for (const { appId, listen } of control.watchers) if (appId === ourApp) listen(entry);
    };

    test('[AD17] tells what happens as it happens, and that somebody watches is in the audit log', async () => {
      const { answer, events, stop } = await open();
      expect(answer.status).toBe(200);
      expect(answer.headers.get('content-type')).toBe('text/event-stream');
      tell({ what: 'subscribed', channel: 'a' });
      tell({ what: 'event', channel: 'a', data: 'two\nlines' });
      expect(await events(2)).toEqual([
        { what: 'subscribed', channel: 'a' },
        { what: 'event', channel: 'a', data: 'two\nlines' },
      ]);
      expect(await database.sql`select action, target, actor ->> 'userId' as who from audit_entries`).toEqual([
        { action: 'watchApp', target: `app:${ourApp}`, who: people.developer },
      ]);
      const [watcher] = control.watchers;
      stop();
      await expect.poll(() => control.watchers.includes(watcher!)).toBe(false);
    });

    test('[AD17] tells only what was asked for', async () => {
      const { events } = await open('?channel=a&socketId=1.1&what=subscribed,event');
      tell({ what: 'subscribed', channel: 'b', socketId: '1.1' });
      tell({ what: 'subscribed', channel: 'a', socketId: '1.2' });
      tell({ what: 'unsubscribed', channel: 'a', socketId: '1.1' });
      tell({ what: 'event', channel: 'a', socketId: '1.1' });
      expect(await events(1)).toEqual([{ what: 'event', channel: 'a', socketId: '1.1' }]);
    });

    test('[AD17] ends with the server, and after an hour, so that whoever watches is asked anew', async () => {
      const { events } = await open();
      tell({ what: 'event' });
      await events(1);
      clock.advance(3_600_000);
      await expect(events(2)).rejects.toThrow('The stream ended');
      expect(control.watchers).toEqual([]);
    });

    test('[AD3] [AD4] [AD5] admits developers of the organisation and nobody else', async () => {
      const statusFor = async (person: Parameters<Started['call']>[0], query = '') =>
        (await control.call(person, 'GET', `/apps/${ourApp}/debug${query}`)).status;
      expect(await statusFor(undefined)).toBe(401);
      expect(await statusFor('viewer')).toBe(403);
      expect(await statusFor('stranger')).toBe(404);
      expect(await statusFor('developer', '?colour=red')).toBe(400);
      expect(control.watchers).toEqual([]);
    });
  });
});
