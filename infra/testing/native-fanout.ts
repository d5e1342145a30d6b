/** The native fan-out, compiled afresh for a test: what an earlier build left may be older than the source, or missing. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram } from './find-program.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export function findCompiler(): string {
  return findProgram({ env: 'CC', names: ['cc', 'gcc', 'clang'], aptPackage: 'build-essential' });
}

/** `file` may be loaded until `remove` is called, and stays loaded after. */
export function buildNativeFanout(): { readonly file: string; readonly remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'starling-fanout-'));
  const file = join(folder, 'fanout.node');
  const args = [join(root, 'services/fanout/build.mjs'), file, findCompiler()];
  const said = execFileSync(process.execPath, args, { encoding: 'utf8' });
  if (said !== '') throw new Error(said);
  return { file, remove: () => rmSync(folder, { recursive: true }) };
}
