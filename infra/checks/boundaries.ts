/** Which room may import what: the walls of the house, as data. */
import { existsSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, normalize } from 'node:path/posix';
import { importsOf, isBuild, isProof, isTest, type Manifest, roomOf, root, type SourceFile } from './source.ts';

/** `node:*` is any module of Node. A `@starling/` room stands for all its doors, unless one is named. */
export const mayImport: Readonly<Record<string, readonly string[]>> = {
  'sdk/protocol': [],
  // Each of the last two in the door that is for it only.
  'sdk/client': ['@starling/protocol', '@noble/ciphers', 'react'],
  // No module of Node: it runs wherever there are fetch and WebCrypto.
  'sdk/server': ['@starling/protocol', '@noble/ciphers', '@noble/hashes'],
  'services/ports': ['@starling/protocol'],
  'services/core': ['@starling/protocol', '@starling/ports', 'node:crypto'],
  // What tables there are, and one way to them; who keeps what in them is the business of the rooms above.
  'services/database': ['@starling/protocol', '@starling/ports', 'postgres', 'node:*'],
  // ioredis in src/redis only, jose in src/jose only, the database in src/postgres only.
  'services/adapters': ['@starling/protocol', '@starling/ports', '@starling/database', 'ioredis', 'jose', 'node:*'],
  'services/fanout': ['node:*'],
  'services/transports': [
    '@starling/protocol',
    '@starling/ports',
    '@starling/core',
    '@starling/fanout',
    'fastify',
    '@fastify/websocket',
    'ws',
    'node:*',
  ],
  'services/runtime': ['@starling/protocol', '@starling/ports', 'fastify', 'pino', 'prom-client', 'zod', 'node:*'],
  'services/api': [
    '@starling/protocol',
    '@starling/ports',
    '@starling/core',
    '@starling/adapters',
    '@starling/runtime',
    'fastify',
    'node:*',
  ],
  'services/control': [
    '@starling/protocol',
    '@starling/ports',
    '@starling/core',
    '@starling/database',
    '@starling/runtime',
    'fastify',
    '@fastify/cookie',
    '@fastify/swagger',
    '@fastify/swagger-ui',
    'fastify-type-provider-zod',
    'zod',
    'jose',
    'openid-client',
    '@node-rs/argon2',
    'node:*',
  ],
  'services/starling': [
    '@starling/protocol',
    '@starling/ports',
    '@starling/core',
    '@starling/adapters',
    '@starling/fanout',
    '@starling/runtime',
    '@starling/api',
    '@starling/transports',
    '@starling/control',
    '@starling/database',
    'fastify',
    'zod',
    'node:*',
  ],
};

/** What tests may import on top: the memory adapters, the contract suites, other people's clients. */
const testsMayImport = [
  '@starling/ports/contract',
  '@starling/adapters/memory',
  '@starling/adapters/system-clock',
  '@starling/client',
  '@starling/server',
  'fastify',
  'vitest',
  'ws',
  'pusher',
  'pusher-js',
  'playwright-core',
  'esbuild',
  'react-dom',
  '@seriousme/openapi-schema-validator',
  'node:*',
];

/** Where a program is put together: the files that know which adapter stands behind a port. */
const composing = /^services\/starling\/src\/(compose|compose-workers|stores|apps)\.ts$/;

/** Rooms whose folders under src each stand alone. */
const roomsOfSiblings = ['services/adapters', 'services/transports'];

/**
 * The folders of services/control/src, the lowest first: a file imports from its own folder and from those before it. Those
 * with a door are imported by their index.ts only.
 */
const controlFolders = [
  { name: 'contract', hasDoor: false },
  { name: 'frame', hasDoor: false },
  { name: 'members', hasDoor: true },
  { name: 'sessions', hasDoor: true },
  { name: 'throttle', hasDoor: true },
  { name: 'second-factor', hasDoor: true },
  { name: 'sign-in', hasDoor: true },
  { name: 'oidc', hasDoor: true },
  { name: 'setup', hasDoor: true },
  { name: 'operations', hasDoor: false },
] as const;

/** The dashboard bundles it for browsers. */
const contractMayImport = ['zod', '@starling/protocol'];

export type ManifestOf = (room: string) => Manifest | undefined;

export function boundaryFaults(files: readonly SourceFile[], manifestOf: ManifestOf): string[] {
  const rooms = [...new Set(files.map(({ path }) => roomOf(path)).filter((room) => room !== undefined))];
  const roomByName = new Map(rooms.map((room) => [manifestOf(room)?.name, room]));
  return files.flatMap((file) => {
    const room = roomOf(file.path);
    if (room === undefined || room === 'infra') return [];
    if (mayImport[room] === undefined) return [`${file.path}: the room ${room} is not in the table of boundaries`];
    return importsOf(file.text).flatMap(({ specifier, line }) => {
      const fault = specifier.startsWith('.')
        ? relativeFault(file.path, room, specifier)
        : bareFault(file.path, room, specifier, manifestOf, roomByName);
      return fault === undefined ? [] : [`${file.path}:${line}: ${fault}`];
    });
  });
}

function relativeFault(path: string, room: string, specifier: string): string | undefined {
  const target = normalize(join(dirname(path), specifier));
  if (roomOf(target) !== room) {
    if (isTest(path) && target.startsWith('infra/testing/')) return undefined;
    if ((isTest(path) || isBuild(path)) && target.startsWith('infra/packaging/')) return undefined;
    return `${specifier} leaves the room: import another room by its name`;
  }
  if (room === 'services/control' && !isProof(path)) return controlFault(path, specifier, target);
  if (!roomsOfSiblings.includes(room)) return undefined;
  const [from, to] = [path, target].map((each) => each.slice(`${room}/src/`.length).split('/'));
  const areSiblings = (from?.length ?? 0) > 1 && (to?.length ?? 0) > 1 && from?.[0] !== to?.[0];
  return areSiblings ? `${specifier} reaches into a sibling folder` : undefined;
}

function controlFault(path: string, specifier: string, target: string): string | undefined {
  const [from, to] = [path, target].map((each) =>
    controlFolders.findIndex(({ name }) => each.startsWith(`services/control/src/${name}/`)),
  ) as [number, number];
  if (from === to) return undefined;
  if (controlFolders[from]?.name === 'contract') return `${specifier} is server code: the dashboard reads the contract`;
  const { name, hasDoor } = controlFolders[to] ?? {};
  if (name === undefined) return undefined;
  if (from !== -1 && to > from) return `${specifier} reaches up into ${name}`;
  return hasDoor && !target.endsWith(`/${name}/index.ts`) ? `${specifier} is not the door of ${name}` : undefined;
}

function bareFault(
  path: string,
  room: string,
  specifier: string,
  manifestOf: ManifestOf,
  roomByName: ReadonlyMap<string | undefined, string>,
): string | undefined {
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
  const isNode = specifier.startsWith('node:');
  if (!isNode && builtinModules.includes(name)) return `write node:${specifier}`;

  const allowed = [
    ...(mayImport[room] ?? []),
    ...(isTest(path)
      ? testsMayImport
      : isProof(path)
        ? ['vitest', 'node:crypto']
        : isBuild(path)
          ? ['esbuild', 'node:*']
          : []),
  ];
  const own = manifestOf(room);
  if (name !== own?.name && ![specifier, name, ...(isNode ? ['node:*'] : [])].some((each) => allowed.includes(each))) {
    return `${room} may not import ${specifier}`;
  }
  if (path.startsWith('services/control/src/contract/') && !isProof(path) && !contractMayImport.includes(name)) {
    return `${specifier} is server code: the dashboard reads the contract`;
  }
  if (isNode) return undefined;

  const target = roomByName.get(name);
  if (target !== undefined) {
    const door = specifier === name ? '.' : `.${specifier.slice(name.length)}`;
    if (manifestOf(target)?.exports[door] === undefined) return `${specifier} is no door of ${name}`;
  }
  if (isProof(path) || isBuild(path)) return undefined;
  if (name === '@starling/adapters' && !composing.test(path))
    return 'adapters are named where a program is composed only';
  if (name !== own?.name && !own?.dependencies.has(name)) return `${name} is not a dependency in ${room}/package.json`;
  return undefined;
}

/** Every door that a package.json promises is a file. */
export function doorFaults(rooms: readonly string[], manifestOf: ManifestOf): string[] {
  return rooms.flatMap((room) =>
    Object.entries(manifestOf(room)?.exports ?? {})
      .filter(([, target]) => !target.includes('/dist/') && !existsSync(join(root, room, target)))
      .map(([door, target]) => `${room}/package.json: the door ${door} leads to ${target}, which is not there`),
  );
}

/** Circles of imports inside a room. Types count: they cost the reader the same. */
export function cycleFaults(files: readonly SourceFile[]): string[] {
  const targets = new Map(
    files.map((file) => [
      file.path,
      importsOf(file.text)
        .filter(({ specifier }) => specifier.startsWith('.'))
        .map(({ specifier }) => normalize(join(dirname(file.path), specifier))),
    ]),
  );
  const done = new Set<string>();
  const faults: string[] = [];
  const walk = (path: string, trail: readonly string[]): void => {
    const loop = trail.indexOf(path);
    if (loop !== -1) faults.push(`imports in a circle: ${[...trail.slice(loop), path].join(' -> ')}`);
    if (loop !== -1 || done.has(path)) return;
    for (const target of targets.get(path) ?? []) walk(target, [...trail, path]);
    done.add(path);
  };
  for (const path of targets.keys()) walk(path, []);
  return faults;
}
