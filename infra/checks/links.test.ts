import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { linkFaults } from './links.ts';
import { readSources, root } from './source.ts';

function textOf(path: string): string | undefined {
  const file = join(root, path);
  if (!existsSync(file)) return undefined;
  return statSync(file).isDirectory() ? '' : readFileSync(file, 'utf8');
}

test('every link of a document leads to something that is there', () => {
  expect(linkFaults(readSources(['.md']), textOf)).toEqual([]);
});

test('docs/architecture.md names what is in the files that it links', () => {
  const documents = readSources(['.md']).filter(({ path }) => path === 'docs/architecture.md');
  expect(documents).toHaveLength(1);
  expect(linkFaults(documents, textOf, { names: true })).toEqual([]);
});

test('planted faults are found', () => {
  const text = [
    'See [a](../src/a.ts) `open`, then `shut`, [b](b.md#part) and [gone](gone.md).',
    '',
    'Elsewhere `loose`, [the web](https://example.com) `free`.',
  ].join('\n');
  const files: Record<string, string> = { 'src/a.ts': 'export function open() {}', 'docs/b.md': '' };
  const documents = [{ path: 'docs/page.md', text }];
  expect(linkFaults(documents, (path) => files[path], { names: true })).toEqual([
    'docs/page.md: ../src/a.ts holds no shut',
    'docs/page.md: gone.md is not there',
  ]);
});
