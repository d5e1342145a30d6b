import { expect, test } from 'vitest';
import { decodeTransition, encodeTransition, type Transition } from './index.ts';

const transitions: readonly Transition[] = [
  { type: 'member-added', member: { userId: 'ada', userInfo: 'null' } },
  { type: 'member-added', member: { userId: 'ада "\\ 🐦', userInfo: '{"name":"Ada","n":[1,{"__proto__":null}]}' } },
  { type: 'member-removed', userId: 'ада "\\ 🐦' },
];

test.each(transitions)('%o is given back as it was', (transition) => {
  expect(decodeTransition(encodeTransition(transition))).toEqual(transition);
});

test.each([
  '',
  'text',
  '[]',
  '{}',
  '{"type":"member-added"}',
  '{"type":"member-added","user_id":1,"user_info":null}',
  '{"type":"member-added","user_id":"ada","user_info":"text"}',
  `{"type":"member-added","user_id":"ada","user_info":{"x":"${'x'.repeat(2_000)}"}}`,
  '{"type":"other","user_id":"ada"}',
  `{"type":"member-removed","user_id":"${'x'.repeat(70_000)}"}`,
  '['.repeat(50_000),
])('%s is none', (text) => {
  expect(decodeTransition(Buffer.from(text))).toBeUndefined();
});
