import { Fairness } from '@starling/core';
import { later } from '@starling/ports';
import { expect, onTestFinished, test } from 'vitest';
import { app3, startApi } from './started-api.ts';

test('[LI8] while the process is late, requests of the app that floods get 429 unread, and others go on', async () => {
  const [floodKey, floodSecret] = ['flood-key', 'flood-secret'];
  const flood = { ...app3, id: '4', keys: [{ key: floodKey, secret: floodSecret, isEnabled: true }] };
  const { traffic, clock, trigger, call, deliveries } = await startApi({ apps: [app3, flood] });
  // Each look at the clock is a millisecond later: what is between two of them took one.
  let ms = clock.elapsed();
  clock.elapsed = () => {
    ms = later(ms, 1);
    return ms;
  };
  const loop = { lateMs: 500 };
  onTestFinished(new Fairness({ traffic, clock }, 200).start(() => loop.lateMs));
  const body = JSON.stringify({ name: 'e', channel: 'room', data: '' });
  /** Each that is taken costs more time than anything else here does. */
  const floods = async () => {
    const answer = await call('POST', '/apps/4/events', { body, key: floodKey, secret: floodSecret });
    if (answer.status === 200) traffic.of('4').spent(100);
    return answer;
  };
  const isFine = async () => {
    traffic.of('3').spent(1);
    return (await trigger({ name: 'e', channel: 'room', data: '' })).status === 200;
  };

  for (let count = 0; count < 20; count++) expect((await floods()).status).toBe(200);
  expect(await isFine()).toBe(true);
  clock.advance(1_000);
  const answers = [];
  for (let count = 0; count < 20; count++) answers.push(await floods());
  const refused = answers.filter(({ status }) => status === 429);
  expect(refused.length).toBeGreaterThan(5);
  expect(refused.length).toBeLessThan(15);
  expect(refused[0]).toMatchObject({
    json: { code: 'rate_limited', limit: { remaining: 0, reset: 1 } },
    headers: { 'retry-after': '1', 'ratelimit-remaining': '0', 'ratelimit-reset': '1' },
  });
  expect(await isFine()).toBe(true);
  expect(traffic.of('4')).toMatchObject({ shareRefusals: refused.length, requestsIn: 40 - refused.length });
  expect(traffic.of('3').shareRefusals).toBe(0);
  expect(deliveries).toEqual([]);

  // An app that nobody has is told as ever, and leaves no counters behind.
  expect((await call('POST', '/apps/999/events', { body })).status).toBe(404);
  expect([...traffic.byApp().keys()].sort()).toEqual(['3', '4']);

  loop.lateMs = 0;
  clock.advance(1_000);
  expect((await floods()).status).toBe(200);
});
