import { describe, expect, test } from 'vitest';
import { boundaryFaults, cycleFaults, doorFaults, type ManifestOf, mayImport } from './boundaries.ts';
import { type Manifest, manifestOf, readSources, roomOf } from './source.ts';

const files = readSources(['.ts', '.tsx', '.mts', '.js', '.mjs']);

describe('the house', () => {
  test('every room imports only what it may, through doors, and declares it', () => {
    expect(boundaryFaults(files, manifestOf)).toEqual([]);
  });
  test('no room imports in a circle', () => {
    expect(cycleFaults(files)).toEqual([]);
  });
  test('every door that a package.json names is there', () => {
    const rooms = new Set(files.map(({ path }) => roomOf(path)).filter((room) => room !== undefined));
    expect(doorFaults([...rooms], manifestOf)).toEqual([]);
  });
  test('is read at all', () => {
    const rooms = new Set(files.map(({ path }) => roomOf(path)));
    expect([...rooms]).toEqual(expect.arrayContaining(Object.keys(mayImport).filter((room) => manifestOf(room))));
  });
});

describe('planted faults', () => {
  const manifest = (name: string, over: Partial<Manifest> = {}): Manifest => ({
    name: `@starling/${name}`,
    exports: { '.': './src/index.ts' },
    dependencies: new Set(['@starling/protocol', '@starling/ports', '@starling/core', '@starling/adapters', 'fastify']),
    scripts: new Set(),
    ...over,
  });
  const manifests: Record<string, Manifest> = {
    'sdk/protocol': manifest('protocol', { dependencies: new Set() }),
    'services/ports': manifest('ports', { exports: { '.': './i.ts', './contract': './c.ts' } }),
    'services/core': manifest('core', { dependencies: new Set(['@starling/protocol']) }),
    'services/adapters': manifest('adapters', { exports: { './memory': './m.ts' } }),
    'services/transports': manifest('transports'),
    'services/api': manifest('api'),
    'services/starling': manifest('starling'),
  };
  const planted: ManifestOf = (room) => manifests[room];
  const rooms = Object.keys(manifests).map((room) => ({ path: `${room}/src/index.ts`, text: '' }));
  const faultsOf = (path: string, text: string) => boundaryFaults([...rooms, { path, text }], planted);

  test.each([
    [
      'up',
      'services/core/src/hub.ts',
      "import { x } from '@starling/api';",
      'services/core may not import @starling/api',
    ],
    ['a driver', 'services/core/src/hub.ts', "import type { Redis } from 'ioredis';", 'may not import ioredis'],
    ['Node, where it is pure', 'sdk/protocol/src/names.ts', "import 'node:fs';", 'may not import node:fs'],
    ['more of Node than it may', 'services/core/src/hub.ts', "import 'node:net';", 'may not import node:net'],
    ['Node without its prefix', 'services/api/src/app.ts', "import { join } from 'path';", 'write node:path'],
    ['while it runs', 'services/core/src/hub.ts', "const x = await import('fastify');", 'may not import fastify'],
    ['by require', 'services/core/src/hub.ts', "require('fastify');", 'may not import fastify'],
    ['in a re-export over lines', 'services/core/src/hub.ts', "export {\n  a,\n} from 'zod';", 'may not import zod'],
    [
      'undeclared',
      'services/core/src/hub.ts',
      "import '@starling/ports';",
      'not a dependency in services/core/package.json',
    ],
    ['another room by its path', 'services/api/src/app.ts', "import '../../core/src/hub.ts';", 'leaves the room'],
    [
      'what is no door',
      'services/api/src/app.ts',
      "import '@starling/core/src/hub.ts';",
      'is no door of @starling/core',
    ],
    [
      'an adapter where no program is composed',
      'services/api/src/app.ts',
      "import '@starling/adapters/memory';",
      'where a program is composed only',
    ],
    ['a sibling folder', 'services/transports/src/ws/a.ts', "import '../sse/b.ts';", 'reaches into a sibling folder'],
    [
      'a folder of control beside its door',
      'services/control/src/operations/keys/list.ts',
      "import '../../members/user.ts';",
      'is not the door of members',
    ],
    [
      'a folder of control above its own',
      'services/control/src/members/user.ts',
      "import '../sessions/index.ts';",
      'reaches up into sessions',
    ],
    [
      'server code in the contract',
      'services/control/src/contract/keys.ts',
      "import '../id.ts';",
      'is server code: the dashboard reads the contract',
    ],
    [
      'a library of servers in the contract',
      'services/control/src/contract/keys.ts',
      "import 'fastify';",
      'is server code: the dashboard reads the contract',
    ],
    ['vitest outside tests', 'services/api/src/app.ts', "import 'vitest';", 'may not import vitest'],
    ['from a room nobody knows', 'services/gossip/src/a.ts', '', 'not in the table of boundaries'],
  ])('%s: found', (_name, path, text, fault) => {
    expect(faultsOf(path, text)).toEqual([expect.stringContaining(fault)]);
  });

  test.each([
    ['an adapter in stores.ts', 'services/starling/src/stores.ts', "import '@starling/adapters/memory';"],
    ['an adapter in a test', 'services/core/src/hub.test.ts', "import '@starling/adapters/memory';"],
    ['an adapter in what tests share', 'services/core/src/world.test-kit.ts', "import '@starling/adapters/memory';"],
    ['vitest in a contract', 'services/ports/src/contract/broker.ts', "import { test } from 'vitest';"],
    ['a shared generator in a test', 'services/core/src/a.test.ts', "import '../../../infra/testing/random.ts';"],
    ['a file shared by sibling folders', 'services/transports/src/ws/a.ts', "import '../codec.ts';"],
    ['the room itself', 'services/core/src/a/b.ts', "import '../hub.ts';"],
    ['a comment', 'services/core/src/hub.ts', "// import x from 'fastify';\n/* import 'zod' */"],
    ['a text', 'services/core/src/hub.ts', 'const x = `\nimport y from "fastify";\n`;'],
  ])('%s: allowed', (_name, path, text) => {
    expect(faultsOf(path, text)).toEqual([]);
  });

  test('a circle, of types only: found once', () => {
    const circle = [
      { path: 'services/core/src/a.ts', text: "import type { B } from './b.ts';" },
      { path: 'services/core/src/b.ts', text: "export * from './c/c.ts';" },
      { path: 'services/core/src/c/c.ts', text: "import { a } from '../a.ts';" },
      { path: 'services/core/src/d.ts', text: "import './a.ts';\nimport './b.ts';" },
    ];
    expect(cycleFaults(circle)).toEqual([
      'imports in a circle: services/core/src/a.ts -> services/core/src/b.ts -> services/core/src/c/c.ts -> services/core/src/a.ts',
    ]);
    expect(cycleFaults(circle.slice(0, 2))).toEqual([]);
  });

  test('a door to nowhere: found', () => {
    expect(doorFaults(['services/core'], () => manifest('core', { exports: { '.': './src/nothing.ts' } }))).toEqual([
      'services/core/package.json: the door . leads to ./src/nothing.ts, which is not there',
    ]);
  });
});
