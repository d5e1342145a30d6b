/** The npm commands that documents tell people to run. */
import type { SourceFile } from './source.ts';

/** What npm runs as a script without being told `run`. */
const shortcuts = new Set(['start', 'test', 'stop', 'restart']);

/** Every `npm run x`, `npm start` and `npm test` of a document is a script; the workspace named by `-w` is a room. */
export function commandFaults(
  documents: readonly SourceFile[],
  scriptsOf: (room: string) => ReadonlySet<string>,
): string[] {
  return documents.flatMap(({ path, text }) =>
    text.split('\n').flatMap((line, index) =>
      [
        ...line.matchAll(
          /\bnpm\s+(?:(?:-w|--workspace)[= ](\S+)\s+)?(run\s+)?([a-z][\w:-]*)(?:\s+(?:-w|--workspace)[= ](\S+))?/g,
        ),
      ]
        .filter(([, , run, command]) => run !== undefined || shortcuts.has(command ?? ''))
        .filter(([, before, , command, after]) => !scriptsOf(before ?? after ?? '.').has(command ?? ''))
        .map(([whole]) => `${path}:${index + 1}: ${whole.trim()} is no script`),
    ),
  );
}
