/** The log: one JSON object a line, or readable lines on a terminal; secrets never pass, and no line is long. */
import type { DefectKind, Observer } from '@starling/ports';
import { type Logger, pino, stdTimeFunctions } from 'pino';
import { LogOutput } from './output.ts';

export type Log = Logger;

export interface LogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  /** Lines for people instead of JSON. */
  readonly isReadable: boolean;
  /** Default: stdout, of which nothing can end or fill the process: see `LogOutput`. */
  readonly destination?: { write(line: string): void };
}

/** Its methods never throw: neither a value that cannot be written down nor a broken output costs more than the line. */
export function createLog(options: LogOptions): Log {
  const render = options.isReadable ? readable : (line: Line) => `${JSON.stringify(line)}\n`;
  const tellDropped = (dropped: number): void => {
    const msg = 'Lines of the log were dropped: what reads it was gone or too slow';
    destination.write(render({ level: 'warn', time: new Date().toISOString(), dropped, msg }));
  };
  const destination = options.destination ?? new LogOutput(process.stdout, tellDropped);
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      hooks: {
        logMethod(args, method) {
          try {
            method.apply(this, args);
          } catch {
            // A getter that throws, or the like: what was to be said is unknown now.
            destination.write(render({ level: 'error', time: new Date().toISOString(), msg: unwritable }));
          }
        },
      },
    },
    // Here, and not in pino's redact option or formatters: only the finished line holds all there is, what a child log
    // is bound to and the message included. It costs a parse, of lines that are few.
    { write: (line) => void destination.write(render(presentable(parseLine(line)))) },
  );
}

const unwritable = 'A line of the log could not be written down, and is left out';

type Line = Readonly<Record<string, unknown>>;

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // Never seen. Were it written as it is, it could hold anything.
    return { level: 'error', msg: 'A line of the log was not JSON, and is left out' };
  }
}

// ── Redaction and bounds ─────────────────────────────────────────────────────────────────────────────────────────

const mark = '[redacted]';
const secretField = /(?:secret|password|passwd|token|signature|authorization|cookie|credential|privatekey)s?$|^auth$/;
const depthMax = 8;
/** Members of one object or array. */
const membersMax = 100;
/** Characters of a field's name. */
const nameMax = 128;
/** Characters of one text. */
export const textMax = 8_192;
/** Characters of all texts of a line together. */
export const lineMax = 32_768;
/** Characters of a text that are looked through. Far above `textMax`, because what is redacted gets shorter. */
const readMax = 65_536;

function presentable(parsed: unknown): Line {
  const budget = { left: lineMax };
  // First, so that there is always room for it.
  const msg = withoutSecrets((parsed as Line)['msg'], 1, budget);
  const { msg: _, ...fields } = parsed as Line;
  return { ...(withoutSecrets(fields, 0, budget) as Line), ...(msg !== undefined && { msg }) };
}

/**
 * A copy without the values of fields named like secrets, at any depth, and without secrets inside texts; cut to size.
 * `budget`: how many characters the line may still take.
 */
function withoutSecrets(value: unknown, depth: number, budget: { left: number }): unknown {
  if (typeof value === 'string') {
    const text = cut(withoutSecretText(value), Math.min(textMax, budget.left));
    budget.left = Math.max(0, budget.left - text.length);
    return text;
  }
  if (typeof value !== 'object' || value === null) return value;
  if (depth > depthMax) return '[deeper]';
  if (Array.isArray(value)) {
    const items = value.slice(0, membersMax).map((item) => withoutSecrets(item, depth + 1, budget));
    return value.length > membersMax ? [...items, `[${value.length - membersMax} more]`] : items;
  }
  const members = Object.entries(value);
  const kept = members.slice(0, membersMax).map(([name, item]) => {
    const shownName = cut(name, nameMax);
    budget.left = Math.max(0, budget.left - shownName.length);
    const isSecret = item !== null && secretField.test(name.slice(-nameMax).replaceAll(/[_-]/g, '').toLowerCase());
    return [shownName, isSecret ? mark : withoutSecrets(item, depth + 1, budget)] as const;
  });
  if (members.length > membersMax) kept.push(['more', `[${members.length - membersMax} more]`]);
  return Object.fromEntries(kept);
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}… [${text.length - length} more]`;
}

/**
 * Each takes time in proportion to the text, whatever a peer has put there: a run of characters is entered only at its
 * beginning (the lookbehind), or its parts cannot overlap. A pattern that may begin anywhere in the run that it reads to
 * the end takes the square of it.
 */
const secretTexts: ReadonlyArray<readonly [RegExp, string]> = [
  // In a URL or a form.
  [/(?<![\w-])((?:[\w-]*(?:secret|password|token|signature)|(?:[\w-]*-)?auth)=)[^&\s"'\\]+/gi, `$1${mark}`],
  // In JSON inside a text, its quotes escaped any number of times.
  [/((?:secret|password|token|signature|\bauth)\\*"\s*:\s*\\*")[^"\\]+/gi, `$1${mark}`],
  // In the URL of a store: redis://user:password@host.
  [/(:\/\/[^\s:@/"]*:)[^\s@/"]+@/g, `$1${mark}@`],
  [/\b(Bearer|Basic)\s+[\w.~+/=-]+/gi, `$1 ${mark}`],
  // Anything that looks like one of our signatures (HMAC-SHA256 in hex), wherever it stands.
  [/\b[0-9a-f]{64}\b/gi, mark],
];
/** Words joined by dots, three or more; whether a JWT is among them is asked of each once. */
const dottedWords = /(?<![\w-])[\w-]+(?:\.[\w-]+){2,}/g;

function withoutSecretText(text: string): string {
  const readable = text.length > readMax ? withoutLastWord(text.slice(0, readMax)) : text;
  return secretTexts
    .reduce((rest, [pattern, replacement]) => rest.replaceAll(pattern, replacement), readable)
    .replaceAll(dottedWords, (words) => {
      const start = words.search(/\beyJ/);
      return start < 0 ? words : words.slice(0, start) + mark;
    });
}

/** The cut may have gone through a secret, which no pattern knows any more. */
function withoutLastWord(text: string): string {
  let end = text.length;
  while (end > 0 && text.charCodeAt(end - 1) > 0x20) end--;
  // Text without a space that is so long says nothing to anybody.
  return `${text.slice(0, end)}…`;
}

// ── For people ───────────────────────────────────────────────────────────────────────────────────────────────────

function readable({ time, level, msg, ...fields }: Line): string {
  const details = Object.entries(fields).map(([name, value]) => {
    const stack = name === 'err' && typeof value === 'object' && value !== null && 'stack' in value && value.stack;
    if (typeof stack === 'string') return `\n${stack}`;
    return ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`;
  });
  const text = `${String(time).slice(11, 19)} ${String(level).padEnd(5)} ${String(msg ?? '')}${details.join('')}`;
  // A terminal obeys control characters, and a peer may have sent them. Line breaks stay, for stacks.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return `${text.replaceAll(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, '·')}\n`;
}

// ── For the engine ───────────────────────────────────────────────────────────────────────────────────────────────

/** How often a kind of defect is written in full: a peer that can cause one can cause it a thousand times a second. */
const defectPauseMs = 1_000;

export class PinoObserver implements Observer {
  readonly log: Log;
  readonly notes: boolean;
  /** How many there were, by kind. */
  readonly defects = new Map<DefectKind, number>();
  /** By kind: when one was last written, in milliseconds of the monotonic clock, and how many were not since then. */
  readonly #written = new Map<DefectKind, { atMs: number; unwritten: number }>();

  constructor(log: Log) {
    this.log = log;
    this.notes = log.isLevelEnabled('debug');
  }

  problem(what: string, details: { readonly err?: unknown } & Record<string, unknown>): void {
    this.log.error(details, what);
  }

  defect(kind: DefectKind, err: unknown, details: Record<string, unknown> = {}): void {
    this.defects.set(kind, (this.defects.get(kind) ?? 0) + 1);
    const nowMs = performance.now();
    const last = this.#written.get(kind);
    if (last !== undefined && nowMs - last.atMs < defectPauseMs) {
      last.unwritten++;
      return;
    }
    this.#written.set(kind, { atMs: nowMs, unwritten: 0 });
    this.log.error({ ...details, kind, err, ...(last?.unwritten && { unwritten: last.unwritten }) }, 'A defect');
  }

  note(what: string, details: Record<string, unknown>): void {
    this.log.debug(details, what);
  }
}
