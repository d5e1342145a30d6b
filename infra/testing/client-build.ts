/** The client as it is published, built from the source as it is now. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const room = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'sdk/client');

export interface ClientBuild {
  /** The package: its package.json and all that goes along. */
  readonly folder: string;
  remove(): void;
}

export function buildClient(): ClientBuild {
  const name = `dist/test-${process.pid}-${Math.random().toString(36).slice(2)}`;
  execFileSync(process.execPath, ['build.mjs', name], { cwd: room, stdio: ['ignore', 'pipe', 'pipe'] });
  const folder = join(room, name);
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
