/** The log: one JSON object a line, or readable lines on a terminal; secrets never pass. */
import type { DefectKind, Observer } from '@starling/ports';
import { type Logger, pino, stdTimeFunctions } from 'pino';

export type Log = Logger;

export interface LogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  /** Lines for people instead of JSON. */
  readonly isReadable: boolean;
  /** Default: stdout. */
  readonly destination?: { write(line: string): void };
}

export function createLog(options: LogOptions): Log {
  const destination = options.destination ?? process.stdout;
  const render = options.isReadable ? readable : (line: Line) => `${JSON.stringify(line)}\n`;
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    // Here, and not in pino's redact option or formatters: only the finished line holds all there is, what a child log
    // is bound to and the message included. It costs a parse, of lines that are few.
    { write: (line) => void destination.write(render(withoutSecrets(parseLine(line), 0) as Line)) },
  );
}

type Line = Readonly<Record<string, unknown>>;

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // Never seen. Were it written as it is, it could hold anything.
    return { level: 'error', msg: 'A line of the log was not JSON, and is left out' };
  }
}

// ── Redaction ────────────────────────────────────────────────────────────────────────────────────────────────────

const mark = '[redacted]';
const secretField = /(?:secret|password|passwd|token|signature|authorization|cookie|credential|privatekey)s?$|^auth$/;
const depthMax = 8;

/** A copy without the values of fields named like secrets, at any depth, and without secrets inside texts. */
function withoutSecrets(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return withoutSecretText(value);
  if (typeof value !== 'object' || value === null) return value;
  if (depth > depthMax) return '[deeper]';
  if (Array.isArray(value)) return value.map((item) => withoutSecrets(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      name,
      item !== null && secretField.test(name.replaceAll(/[_-]/g, '').toLowerCase())
        ? mark
        : withoutSecrets(item, depth + 1),
    ]),
  );
}

const secretTexts: ReadonlyArray<readonly [RegExp, string]> = [
  // In a URL or a form.
  [/\b((?:[\w-]*(?:secret|password|token|signature)|auth)=)[^&\s"'\\]+/gi, `$1${mark}`],
  // In JSON inside a text, its quotes escaped any number of times.
  [/((?:secret|password|token|signature|\bauth)\\*"\s*:\s*\\*")[^"\\]+/gi, `$1${mark}`],
  // In the URL of a store: redis://user:password@host.
  [/(:\/\/[^\s:@/"]*:)[^\s@/"]+@/g, `$1${mark}@`],
  [/\b(Bearer|Basic)\s+[\w.~+/=-]+/gi, `$1 ${mark}`],
  // Anything that looks like one of our signatures (HMAC-SHA256 in hex) or like a JWT, wherever it stands.
  [/\b[0-9a-f]{64}\b/gi, mark],
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]+/g, mark],
];

function withoutSecretText(text: string): string {
  return secretTexts.reduce((rest, [pattern, replacement]) => rest.replaceAll(pattern, replacement), text);
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
  readonly #log: Log;
  readonly notes: boolean;
  /** How many there were, by kind. */
  readonly defects = new Map<DefectKind, number>();
  /** By kind: when one was last written, in milliseconds of the monotonic clock, and how many were not since then. */
  readonly #written = new Map<DefectKind, { atMs: number; unwritten: number }>();

  constructor(log: Log) {
    this.#log = log;
    this.notes = log.isLevelEnabled('debug');
  }

  problem(what: string, details: { readonly err?: unknown } & Record<string, unknown>): void {
    this.#log.error(details, what);
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
    this.#log.error({ ...details, kind, err, ...(last?.unwritten && { unwritten: last.unwritten }) }, 'A defect');
  }

  note(what: string, details: Record<string, unknown>): void {
    this.#log.debug(details, what);
  }
}
