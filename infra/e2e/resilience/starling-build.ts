/** The built program as a file, for what starts it by means of its own. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const home = join(dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url))))), 'services/starling');

export function buildStarling(): { readonly file: string; remove(): void } {
  // Inside its room, so that it finds its packages.
  const build = `dist/test-${process.pid}-${Math.random().toString(36).slice(2)}/starling.js`;
  execFileSync(process.execPath, ['build.mjs', build], { cwd: home, stdio: 'pipe' });
  const file = join(home, build);
  return { file, remove: () => rmSync(dirname(file), { recursive: true, force: true }) };
}
