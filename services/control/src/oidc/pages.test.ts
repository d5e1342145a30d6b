import { expect, it } from 'vitest';
import { localPath } from './pages.ts';

it.each([
  ['/apps/1?tab=keys#a', '/apps/1?tab=keys#a'],
  ['/', '/'],
  ['//evil.example', undefined],
  ['/\\evil.example', undefined],
  ['/\t/evil.example', undefined],
  ['/a/..//evil.example', undefined],
  ['https://evil.example', undefined],
  ['javascript:alert(1)', undefined],
  ['', undefined],
  [undefined, undefined],
])('[AU15] after a sign-in elsewhere %j leads to %j', (given, path) => {
  expect(localPath(given)).toBe(path);
});
