/** Reads what `node --cpu-prof` wrote: which functions the time went to. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';

interface CpuProfile {
  readonly nodes: ReadonlyArray<{
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }>;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

export const profileFlags = (dir: string): readonly string[] => [
  '--cpu-prof',
  `--cpu-prof-dir=${dir}`,
  '--cpu-prof-interval=200',
];

export function forgetProfiles(dir: string): void {
  rmSync(dir, { recursive: true, force: true });
}

/** The functions with the most time of their own, of all the time that was not idle. */
export function topFunctions(dir: string, count: number): string {
  const [file] = readdirSync(dir).filter((name) => name.endsWith('.cpuprofile'));
  if (file === undefined) return '  The server wrote no profile.\n';
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(join(dir, file), 'utf8')) as CpuProfile;
  const names = new Map(
    nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => {
      const place = url === '' ? '' : `  ${url.startsWith('node:') ? url : basename(url)}:${lineNumber + 1}`;
      return [id, `${functionName === '' ? '(anonymous)' : functionName}${place}`];
    }),
  );
  const self = new Map<string, number>();
  for (const [index, id] of samples.entries()) {
    const name = names.get(id) ?? '?';
    self.set(name, (self.get(name) ?? 0) + (timeDeltas[index] ?? 0));
  }
  self.delete('(idle)');
  const total = [...self.values()].reduce((sum, each) => sum + each, 0);
  const lines = [...self]
    .sort(([, a], [, b]) => b - a)
    .slice(0, count)
    .map(([name, us]) => `  ${((100 * us) / total).toFixed(1).padStart(5)} %  ${name}`);
  return `${lines.join('\n')}\n`;
}
