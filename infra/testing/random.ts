/**
 * Chance with a seed: the same seed makes the same inputs on every machine, so a failure can be had again. Beside plain
 * numbers it makes what breaks parsers: strange texts, JSON as nobody writes it, and good inputs gone slightly wrong.
 */
import { inject } from 'vitest';

const strangeTexts = [
  '',
  '0',
  '-0',
  'null',
  'true',
  '{}',
  '[]',
  '""',
  '"',
  '\\',
  ':',
  '::user::',
  '#',
  '#server-to-user-',
  '__proto__',
  'constructor',
  'toJSON',
  'toString',
  'length',
  'pusher:',
  'pusher_internal:',
  'client-',
  'private-',
  'private-encrypted-',
  'private-cache-',
  'presence-',
  'presence-cache-',
  'cache-',
  '\0',
  '\n',
  '\r\n',
  '\u2028',
  '\ufeff',
  '\ufffd',
  '\uffff',
  '\ud800',
  '\udc00',
  '\udc00\ud800',
  '😀',
  'é',
  'e\u0301',
  'ß',
  'İ',
  '%',
  '%00',
  '+',
  '&',
  '=',
  '1.1',
  '1234.5678',
  'x'.repeat(64),
  'x'.repeat(128),
  'x'.repeat(129),
  'x'.repeat(200),
  'x'.repeat(201),
  '漢'.repeat(400),
] as const;

const strangeNumbers = [
  '0',
  '-0',
  '1',
  '-1',
  '1.5',
  '1e3',
  '1E+2',
  '1e999',
  '-1e999',
  '5e-324',
  '0.1',
  '9007199254740991',
  '9007199254740992',
  '123456789012345678901234567890',
  '9'.repeat(400),
] as const;

/** Pieces that turn one JSON text into another, or into none. */
const fragments = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '\\u',
  '\\ud800',
  '{"',
  '":',
  'null',
  '0',
  '-',
  'e',
  ' ',
  '\0',
];

export class Random {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed;
    this.#state = seed >>> 0;
    // Neighbouring seeds begin alike; a few steps apart they no longer do.
    for (let step = 0; step < 4; step++) this.unit();
  }

  /** From 0 up to, not including, 1. The generator is mulberry32. */
  unit(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** A whole number from 0 up to, not including, `limit`. */
  below(limit: number): number {
    return Math.floor(this.unit() * limit);
  }

  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  chance(probability: number): boolean {
    return this.unit() < probability;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('Nothing to pick from, or undefined picked');
    return item;
  }

  /** A new array with the same items in another order. */
  shuffle<T>(items: readonly T[]): T[] {
    return items
      .map((item) => ({ item, rank: this.unit() }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ item }) => item);
  }

  list<T>(mostItems: number, make: () => T): T[] {
    return Array.from({ length: this.between(0, mostItems) }, make);
  }

  bytes(mostBytes: number): Uint8Array {
    return Uint8Array.from({ length: this.between(0, mostBytes) }, () => this.below(256));
  }

  /** Characters a name may have, mostly. */
  word(mostCharacters = 12): string {
    const characters = 'abcdefgzABCZ0123456789_-=@,.;';
    return Array.from({ length: this.between(1, mostCharacters) }, () => this.pick([...characters])).join('');
  }

  /** Any UTF-16, well-formed or not, with a liking for what is special to somebody. */
  text(): string {
    const kind = this.below(6);
    if (kind === 0) return this.pick(strangeTexts);
    if (kind === 1) return this.pick(strangeTexts) + this.word() + this.pick(strangeTexts);
    if (kind === 2) return this.pick(strangeTexts).repeat(this.below(20));
    if (kind === 3) return String.fromCharCode(...this.list(30, () => this.below(65_536)));
    if (kind === 4) return String.fromCharCode(...this.list(30, () => this.below(128)));
    return this.word(40);
  }

  /** JSON text that JSON.stringify would never write: keys twice, odd numbers, escapes, spaces, depth. */
  json(depth = 4): string {
    if (this.chance(0.002)) return this.#pit();
    const kind = depth <= 0 ? this.below(5) : this.below(9);
    if (kind === 0) return this.pick(['null', 'true', 'false']);
    if (kind === 1) return this.pick(strangeNumbers);
    if (kind === 2) return String(this.below(1_000));
    if (kind <= 4) return this.jsonText(this.text());
    if (kind === 5) return `[${this.list(5, () => this.json(depth - 1)).join(this.#comma())}]`;
    return this.jsonObject(this.list(5, () => [this.text(), this.json(depth - 1)] as const));
  }

  /** An object of these keys and JSON texts, in any order, some keys twice, some that were not asked for. */
  jsonObject(entries: ReadonlyArray<readonly [key: string, json: string]>): string {
    const all = [...entries];
    if (this.chance(0.2)) all.push([this.text(), this.json(1)]);
    if (this.chance(0.1)) all.push(['__proto__', this.json(1)]);
    const [first] = entries;
    if (first !== undefined && this.chance(0.05)) all.push([first[0], this.json(1)]);
    const ordered = this.chance(0.5) ? this.shuffle(all) : all;
    return `{${ordered.map(([key, json]) => `${this.jsonText(key)}:${json}`).join(this.#comma())}}`;
  }

  /** The text as a JSON string that UTF-8 can hold, now and then with escapes where none are needed. */
  jsonText(text: string): string {
    if (this.chance(0.8)) return JSON.stringify(text);
    const escaped = Array.from({ length: text.length }, (_, index) => {
      const unit = text.charCodeAt(index);
      return this.chance(0.5) || unit < 0x20 || unit === 0x22 || unit === 0x5c || (unit >= 0xd800 && unit <= 0xdfff)
        ? `\\u${unit.toString(16).padStart(4, '0')}`
        : text.charAt(index);
    });
    return `"${escaped.join('')}"`;
  }

  /** The text with one to three small wounds. */
  mutate(text: string): string {
    let mutated = text;
    for (let wound = this.between(1, 3); wound > 0; wound--) {
      const start = this.below(mutated.length + 1);
      const end = Math.min(mutated.length, start + this.below(8));
      const before = mutated.slice(0, start);
      const after = mutated.slice(end);
      const kind = this.below(6);
      if (kind === 0) mutated = before + after;
      else if (kind === 1) mutated = before + this.pick(fragments) + after;
      else if (kind === 2) mutated = before + mutated.slice(start, end).repeat(this.between(2, 4)) + after;
      else if (kind === 3) mutated = before + String.fromCharCode(this.below(65_536)) + after;
      else if (kind === 4) mutated = before;
      else mutated = before + this.json(1) + after;
    }
    return mutated;
  }

  /** Deeper than JSON.stringify can follow: closed, so that JSON.parse takes it. */
  #pit(): string {
    const depth = this.pick([100, 5_000, 60_000]);
    return this.chance(0.5)
      ? `${'['.repeat(depth)}${']'.repeat(depth)}`
      : `${'{"a":'.repeat(depth)}0${'}'.repeat(depth)}`;
  }

  #comma(): string {
    return this.chance(0.9) ? ',' : this.pick([' , ', ',\n', '\t,']);
  }
}

declare module 'vitest' {
  interface ProvidedContext {
    /** How many times the usual number of seeds is tried: `STARLING_FUZZ_FACTOR`. */
    fuzzFactor: number;
  }
}

/** Told of each input before it is used, so that a failure can name it. */
export type Given = <T>(input: T) => T;

/** Runs `round` once for each seed, and says with which seed and which input it failed. */
export function fuzz(seeds: Iterable<number>, round: (random: Random, given: Given) => void): void {
  for (const seed of seeds) {
    const { given, failure } = watch(seed);
    try {
      round(new Random(seed), given);
    } catch (err) {
      throw failure(err);
    }
  }
}

/** The same for rounds that wait, one after another. */
export async function fuzzInTurn(
  seeds: Iterable<number>,
  round: (random: Random, given: Given) => Promise<void>,
): Promise<void> {
  for (const seed of seeds) {
    const { given, failure } = watch(seed);
    try {
      await round(new Random(seed), given);
    } catch (err) {
      throw failure(err);
    }
  }
}

function watch(seed: number): { given: Given; failure: (err: unknown) => Error } {
  let input: unknown;
  let step = 0;
  return {
    given: (value) => {
      input = value;
      step++;
      return value;
    },
    failure: (err) => {
      const message = err instanceof Error ? err.message : err;
      return new Error(`Seed ${seed}, step ${step}, input ${show(input)}: ${message}`, { cause: err });
    },
  };
}

/** Seeds known to have failed first, then so many more, or `STARLING_FUZZ_FACTOR` times as many. */
export function* seedsOf(failingSeeds: readonly number[], count: number): Iterable<number> {
  yield* failingSeeds;
  const last = Math.ceil(count * inject('fuzzFactor'));
  for (let seed = 1; seed <= last; seed++) yield seed;
}

function show(input: unknown): string {
  const shown = typeof input === 'string' ? JSON.stringify(input) : String(JSON.stringify(input));
  return shown.length > 2_000 ? `${shown.slice(0, 2_000)}… (${shown.length} characters)` : shown;
}
