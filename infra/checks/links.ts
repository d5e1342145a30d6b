/** Links of documents to files, and the names that a line says are there. */
import { dirname, join, normalize } from 'node:path/posix';
import type { SourceFile } from './source.ts';

/**
 * Every relative link leads to a file or a folder. `textOf`: the text of a file, an empty one for a folder, undefined for what is not
 * there. With `names`, each name in backquotes that stands behind a link, before the next one, occurs in that file.
 */
export function linkFaults(
  documents: readonly SourceFile[],
  textOf: (path: string) => string | undefined,
  { names = false } = {},
): string[] {
  return documents.flatMap(({ path, text }) => {
    const links = [...text.matchAll(/\]\((?!\w+:)([^)#\s]+)(?:#[^)]*)?\)/g)];
    return links.flatMap((link, index) => {
      const [, target = ''] = link;
      const found = textOf(normalize(join(dirname(path), target)));
      if (found === undefined) return [`${path}: ${target} is not there`];
      if (!names) return [];
      const from = link.index + link[0].length;
      const behind = text.slice(from, Math.min(links[index + 1]?.index ?? text.length, endOfItem(text, from)));
      const named = [...behind.matchAll(/`([A-Za-z]\w*)`/g)].map(([, name = '']) => name);
      return named.filter((name) => !found.includes(name)).map((name) => `${path}: ${target} holds no ${name}`);
    });
  });
}

/** A name behind the end of a paragraph or a step belongs to no link before it. */
function endOfItem(text: string, from: number): number {
  const end = /\n(?:\n|\d+\. )/.exec(text.slice(from));
  return end === null ? text.length : from + end.index;
}
