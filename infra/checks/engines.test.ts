import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { satisfies } from 'semver';
import { expect, test } from 'vitest';
import { root } from './source.ts';

interface Locked {
  readonly packages: Readonly<Record<string, { readonly engines?: { readonly node?: string } | readonly string[] }>>;
}

/** The oldest Node that we promise; npm prints a warning for each package that does not, and people read it as a fault. */
const oldestNode = '20.19.0';

test(`every installed package runs on Node ${oldestNode}, so that npm ci prints no engine warning`, () => {
  const { packages }: Locked = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const faults = Object.entries(packages).flatMap(([path, { engines }]) => {
    const range = engines !== undefined && 'node' in engines ? engines.node : undefined;
    return range === undefined || satisfies(oldestNode, range) ? [] : [`${path} needs Node ${range}`];
  });
  expect(Object.keys(packages).length).toBeGreaterThan(100);
  expect(faults).toEqual([]);
});
