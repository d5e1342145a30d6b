/** Source files as the house checks see them: their rooms, their imports, their code without comments. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export interface SourceFile {
  /** From the root, with `/`. */
  readonly path: string;
  readonly text: string;
}

/** Files whose names end like one of these, without what is installed, built or hidden. */
export function readSources(endings: readonly string[], folder = ''): readonly SourceFile[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      const isOurs = !entry.name.startsWith('.') && !['node_modules', 'dist', 'build', 'coverage'].includes(entry.name);
      return isOurs ? readSources(endings, path) : [];
    }
    return endings.some((ending) => path.endsWith(ending))
      ? [{ path, text: readFileSync(join(root, path), 'utf8') }]
      : [];
  });
}

/** The room a file is in, such as `services/core`; undefined for what is in none. */
export function roomOf(path: string): string | undefined {
  return /^(?:sdk|services|examples)\/[^/]+(?=\/)|^(?:infra|web-dashboard)(?=\/)/.exec(path)?.[0];
}

export function isTest(path: string): boolean {
  return /\.test(?:-kit)?\.ts$/.test(path) || /^services\/[^/]+\/test\//.test(path);
}

/** Not of the running program: tests, and the suites that other rooms' tests run. */
export function isProof(path: string): boolean {
  return isTest(path) || path.startsWith('services/ports/src/contract/');
}

/** What makes the program, and is no part of it. */
export function isBuild(path: string): boolean {
  return /(?:^|\/)build\.mjs$|\.config\.ts$/.test(path);
}

/**
 * The code with every comment blanked, line breaks kept; with `strings: 'blank'` what is inside quotes and regular
 * expressions too. Good enough for formatted TypeScript; no parser.
 */
export function code(text: string, strings: 'keep' | 'blank' = 'keep'): string {
  const blank = (part: string) => part.replace(/[^\n]/g, ' ');
  let out = '';
  let at = 0;
  // For each open template, the depth of braces at which its current ${ ends.
  const templates: number[] = [];
  let depth = 0;

  const literal = (from: number, to: number) => {
    const part = text.slice(from, to);
    return strings === 'keep' ? part : part.charAt(0) + blank(part.slice(1, -1)) + part.slice(-1);
  };
  const template = (from: number): number => {
    for (let end = from; end < text.length; end++) {
      if (text[end] === '\\') end++;
      else if (text[end] === '`') return end + 1;
      else if (text[end] === '$' && text[end + 1] === '{') {
        templates.push(depth);
        return end + 2;
      }
    }
    return text.length;
  };

  while (at < text.length) {
    const [one, two] = [text[at], text.slice(at, at + 2)];
    let end = at + 1;
    if (two === '//') {
      end = text.indexOf('\n', at);
      end = end === -1 ? text.length : end;
      out += blank(text.slice(at, end));
    } else if (two === '/*') {
      end = text.indexOf('*/', at + 2);
      end = end === -1 ? text.length : end + 2;
      out += blank(text.slice(at, end));
    } else if (one === "'" || one === '"') {
      while (end < text.length && text[end] !== one && text[end] !== '\n') end += text[end] === '\\' ? 2 : 1;
      out += literal(at, ++end);
    } else if (one === '`') {
      end = template(at + 1);
      out += literal(at, end);
    } else if (one === '}' && templates.at(-1) === depth) {
      templates.pop();
      end = template(at + 1);
      out += literal(at, end);
    } else if (one === '/' && beginsRegExp(out)) {
      let inClass = false;
      while (end < text.length && (text[end] !== '/' || inClass) && text[end] !== '\n') {
        if (text[end] === '\\') end++;
        else if (text[end] === '[') inClass = true;
        else if (text[end] === ']') inClass = false;
        end++;
      }
      out += literal(at, ++end);
    } else {
      if (one === '{') depth++;
      if (one === '}') depth--;
      out += one;
    }
    at = end;
  }
  return out;
}

/** Whether a slash after this code begins a regular expression, not a division. */
function beginsRegExp(before: string): boolean {
  return /(?:^|[=(,:[!&|?{};+\-*%~^<>]|\b(?:return|typeof|case|of|in|await|yield))\s*$/.test(before.slice(-40));
}

export interface Import {
  readonly specifier: string;
  readonly line: number;
}

/** Everything a file imports or re-exports, types included, and whatever it loads while it runs. */
export function importsOf(text: string): readonly Import[] {
  const kept = code(text);
  // Found where no string or comment can pretend to be one, read where the strings still are.
  const blanked = code(text, 'blank');
  const pattern =
    /(?:^|[\n;])\s*(?:import|export)\b[^'"`;]*?\bfrom\s*(['"])|(?:^|[\n;])\s*import\s*(['"])|\b(?:import|require|import\.meta\.resolve)\s*\(\s*(['"`])/g;
  return [...blanked.matchAll(pattern)].map((match) => {
    const start = match.index + match[0].length;
    const quote = match[1] ?? match[2] ?? match[3] ?? '';
    return { specifier: kept.slice(start, kept.indexOf(quote, start)), line: kept.slice(0, start).split('\n').length };
  });
}

export interface Manifest {
  readonly name: string;
  readonly exports: Readonly<Record<string, string>>;
  readonly dependencies: ReadonlySet<string>;
  readonly scripts: ReadonlySet<string>;
}

/** A room's package.json; `.` for the root's. */
export function manifestOf(room: string): Manifest | undefined {
  const path = join(root, room, 'package.json');
  if (!existsSync(path)) return undefined;
  const read = JSON.parse(readFileSync(path, 'utf8')) as {
    name: string;
    exports?: Record<string, string | Record<string, string>>;
    dependencies?: object;
    devDependencies?: object;
    peerDependencies?: object;
    optionalDependencies?: object;
    scripts?: object;
  };
  const doors = Object.entries(read.exports ?? {}).map(
    ([door, target]) => [door, typeof target === 'string' ? target : Object.values(target)[0]] as const,
  );
  return {
    name: read.name,
    exports: Object.fromEntries(doors.filter((entry): entry is [string, string] => entry[1] !== undefined)),
    dependencies: new Set(
      [read.dependencies, read.devDependencies, read.peerDependencies, read.optionalDependencies].flatMap((list) =>
        Object.keys(list ?? {}),
      ),
    ),
    scripts: new Set(Object.keys(read.scripts ?? {})),
  };
}
