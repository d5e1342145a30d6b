/** What processes have used, as Linux counts it. */
import { readdirSync, readFileSync } from 'node:fs';

/** `sysconf(_SC_CLK_TCK)` is 100 on every Linux that Node runs on: CPU is told in steps of 10 ms. */
const msPerTick = 10;

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // The process or thread has just ended: it uses nothing any more.
    return '';
  }
}

/** The process and all it has started, and so on. */
function tree(pid: number): number[] {
  const children = threads(pid).flatMap((thread) =>
    read(`/proc/${pid}/task/${thread}/children`)
      .split(' ')
      .filter((text) => text !== '')
      .map(Number),
  );
  return [pid, ...children.flatMap(tree)];
}

function threads(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

/** User and system time of a process with all its threads and children, since it started. */
export function cpuMs(pid: number): number {
  const ticks = tree(pid).map((each) => {
    // The name, in parentheses, may hold anything: what follows the last parenthesis can be counted on.
    const fields = read(`/proc/${each}/stat`)
      .replace(/^.*\) /s, '')
      .split(' ');
    return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  });
  return ticks.reduce((sum, each) => sum + each, 0) * msPerTick;
}

export interface Memory {
  readonly rssBytes: number;
  /** Not shared with any other process. */
  readonly privateBytes: number;
}

export function memory(pids: readonly number[]): Memory {
  const rollups = pids.flatMap(tree).map((each) => read(`/proc/${each}/smaps_rollup`));
  const sum = (name: string): number =>
    rollups.reduce((total, text) => total + Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0), 0);
  return { rssBytes: sum('Rss') * 1024, privateBytes: (sum('Private_Clean') + sum('Private_Dirty')) * 1024 };
}

/** CPU that all processes of the machine have used, the kernel's own work included. */
export function machineCpuMs(): number {
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = (/^cpu .*$/m.exec(read('/proc/stat'))?.[0] ?? '')
    .split(/\s+/)
    .map(Number);
  return (user + nice + system + irq + softirq) * msPerTick;
}

/** How many files this process may have open, and so those it starts. */
export function openFilesLimit(): number {
  const limit = /^Max open files\s+\S+\s+(\S+)/m.exec(read('/proc/self/limits'))?.[1];
  return limit === undefined || limit === 'unlimited' ? Number.POSITIVE_INFINITY : Number(limit);
}

export function cpuModel(): string {
  return /^model name\s*:\s*(.*)$/m.exec(read('/proc/cpuinfo'))?.[1] ?? 'unknown';
}
