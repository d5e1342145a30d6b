/** Habits the house keeps, line by line: where the environment, time and chance may be read, what may be unfinished. */
import { monotonicReaders, realClocks, wallReaders } from './clocks.ts';
import { code, isBuild, isProof, isTest, type SourceFile } from './source.ts';

interface Habit {
  readonly fault: string;
  readonly pattern: RegExp;
  readonly holdsIn: (path: string) => boolean;
  /** Look into comments and strings too. */
  readonly everywhere?: boolean;
}

const inFolder = (...folders: string[]) => {
  return (path: string) => folders.some((folder) => path.startsWith(`${folder}/`));
};
const isPure = inFolder('sdk/protocol', 'services/core');
const isTimed = (path: string) => inFolder('sdk', 'services')(path) && !isProof(path) && !isBuild(path);

const habits: readonly Habit[] = [
  {
    fault: 'process.env is read in services/runtime only',
    pattern: /\bprocess\s*\.\s*env\b|\bprocess\s*\[|\{[^}\n]*\benv\b[^}\n]*\}\s*=\s*process\b/,
    holdsIn: (path) => !inFolder('services/runtime', 'infra')(path) && !isBuild(path),
  },
  {
    fault: 'a module has no variables: put the state into what owns it',
    // Formatted code has a module's own statements, and only those, at the start of a line.
    pattern: /^(?:export\s+)?(?:let|var)\s/,
    holdsIn: (path) => !isTest(path),
  },
  {
    fault: 'time and chance come through a port or an argument',
    pattern: /\b(?:setTimeout|setInterval|setImmediate|Math\s*\.\s*random)\b/,
    holdsIn: (path) => isPure(path) && !isTest(path),
  },
  {
    fault: 'the wall clock of the machine is read in the files that infra/checks/clocks.ts names: take a Clock',
    pattern:
      /\bDate\s*\.\s*now\b|\bnew\s+Date\b(?!\s*\(\s*[^\s)])|(?<!new\s+)\bDate\s*\(|=\s*(?:globalThis\s*\.\s*)?Date\s*;/,
    holdsIn: (path) => isTimed(path) && !realClocks.has(path),
  },
  {
    fault: 'the monotonic clock of the machine is read in the places that infra/checks/clocks.ts names: take a Clock',
    pattern: /\bperformance\s*\.\s*(?:now|timeOrigin)\b|\bhrtime\b|\bprocess\s*\.\s*uptime\b|=\s*performance\s*;/,
    holdsIn: (path) => isTimed(path) && !realClocks.has(path) && !inFolder(...monotonicReaders.keys())(path),
  },
  {
    fault:
      'now() is read in the files that infra/checks/clocks.ts names, each with its reason: durations take elapsed()',
    pattern: /(?<!\b(?:Date|performance)\s*)\.\s*now\s*\(\s*\)|\{[^}\n]*\bnow\b[^}\n]*\}\s*=\s*\S*[cC]lock\b/,
    holdsIn: (path) =>
      isTimed(path) &&
      path.startsWith('services/') &&
      !inFolder('services/control', ...monotonicReaders.keys())(path) &&
      !realClocks.has(path) &&
      !wallReaders.has(path),
  },
  {
    fault: 'what is unfinished carries initials, a date and the condition that ends it: TODO(ab, 2026-01-31): …',
    pattern: /\b(?:FIXME|XXX|HACK)\b|\bTODO\b(?!\([a-z]{2,4}, \d{4}-\d\d-\d\d\): \S)/,
    holdsIn: (path) => !path.startsWith('infra/checks/'),
    everywhere: true,
  },
  {
    fault: 'only the one test runs, or one does not',
    pattern: /\b(?:test|it|describe)(?:\.\w+)*\.(?:only|skip|todo|fails|skipIf|runIf)\b/,
    holdsIn: isTest,
  },
];

export function habitFaults(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, text }) => {
    const kept = habits.filter(({ holdsIn }) => holdsIn(path));
    const [whole, bare] = [text.split('\n'), code(text, 'blank').split('\n')];
    return whole.flatMap((line, index) =>
      kept
        .filter(({ pattern, everywhere }) => pattern.test(everywhere ? line : (bare[index] ?? '')))
        .map(({ fault }) => `${path}:${index + 1}: ${fault}`),
    );
  });
}
