import { expect, test } from 'vitest';
import { commandFaults } from './commands.ts';
import { manifestOf, readSources } from './source.ts';

test('every npm command in a document is a script', () => {
  const scriptsOf = (room: string) => manifestOf(room)?.scripts ?? new Set<string>();
  expect(commandFaults(readSources(['.md']), scriptsOf)).toEqual([]);
});

test('planted faults are found', () => {
  const scripts: Record<string, string[]> = { '.': ['test', 'build'], 'sdk/client': ['size'] };
  const text = [
    'npm ci && npm test',
    '`npm run build` and `npm run bild`',
    'npm start',
    'npm run size -w sdk/client',
    'npm -w sdk/client run sise',
    'npm can do more',
  ].join('\n');
  expect(commandFaults([{ path: 'README.md', text }], (room) => new Set(scripts[room]))).toEqual([
    'README.md:2: npm run bild is no script',
    'README.md:3: npm start is no script',
    'README.md:5: npm -w sdk/client run sise is no script',
  ]);
});
