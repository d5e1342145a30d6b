/** What the two processes tell each other is looked at, by either of them. */
import { appOf } from '@starling/ports/contract';
import { expect, it } from 'vitest';
import { LineAppStore, serveApps } from './app-store.ts';

function madeBy(answer: (about: unknown) => unknown = () => undefined) {
  const told: string[] = [];
  const listeners = new Map<string, (about: unknown) => void>();
  const store = new LineAppStore(
    { ask: async (_what, about) => answer(about), heed: (what, listener) => void listeners.set(what, listener) },
    { problem: (what) => void told.push(what), defect: (kind) => void told.push(`defect: ${kind}`) },
  );
  const hear = (about: unknown) => listeners.get('app changed')?.(about);
  return { store, told, hear };
}

const app = appOf('1');
const strange = [
  undefined,
  null,
  7,
  [],
  {},
  { id: 7, app },
  { id: '1', app: null },
  { id: '1', app: { ...app, keys: null } },
  { id: '1', app: { ...app, keys: [null] } },
  { id: '1', app: { ...app, limits: {} } },
  { id: '1', app: { ...app, revocations: [{}] } },
  { id: '1', app: { ...app, tokens: undefined } },
  { id: '1', app: { ...app, isEnabled: 'yes' } },
];

it('[OP13] a change that is none is told and passed over, and the next one counts', async () => {
  const { store, told, hear } = madeBy();
  const changes: unknown[] = [];
  store.onChange((id) => changes.push(id));
  for (const about of strange) hear(about);
  expect(told).toEqual(strange.map(() => 'a change of an app cannot be read'));
  expect(changes).toEqual([]);
  hear({ id: '1', app });
  expect(changes).toEqual(['1']);
  expect(await store.byId('1')).toBe(app);
});

it('[OP13] an answer that is no app is an error of this one question', async () => {
  const answers: unknown[] = [{ id: '1' }, app];
  const { store } = madeBy(() => answers.shift());
  await expect(store.byId('1')).rejects.toMatchObject({ code: 'internal' });
  expect(await store.byId('1')).toBe(app);
});

it('[OP13] a question or an order that is none gets an error, and nothing is done', async () => {
  const answering = new Map<string, (about: unknown) => unknown>();
  const untouched = () => expect.unreachable('the store was asked');
  const store = { byId: untouched, byKey: untouched, revoke: untouched, onChange: () => () => undefined };
  serveApps(store as never, { answer: (what, answer) => void answering.set(what, answer), tell: () => undefined });
  for (const [what, answer] of answering) {
    for (const about of [
      null,
      7,
      {},
      { by: 'name', value: 'x' },
      { by: 'id', value: 7 },
      { appId: '1', revocation: {} },
    ]) {
      expect(() => answer(about), what).toThrow('in a form that is none');
    }
  }
});

it('[OP12] a listener that throws costs no other one the change', () => {
  const { store, told, hear } = madeBy();
  const changes: string[] = [];
  store.onChange(() => {
    throw new Error('changed');
  });
  store.onChange((id) => changes.push(id));
  hear({ id: '1', app: undefined });
  expect(changes).toEqual(['1']);
  expect(told).toEqual(['defect: listener']);
});
