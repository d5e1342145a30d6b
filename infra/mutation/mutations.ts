/** Small faults, one at a time: each is one that somebody could make. */

export interface Mutation {
  /** From 1. */
  readonly line: number;
  readonly before: string;
  readonly after: string;
}

/** By what stands in a line and what takes its place. An operator has spaces around it, as the formatter leaves it. */
const swaps: readonly (readonly [from: RegExp, to: string])[] = [
  [/ === /g, ' !== '],
  [/ !== /g, ' === '],
  [/ && /g, ' || '],
  [/ \|\| /g, ' && '],
  [/ \?\? /g, ' && '],
  [/ < /g, ' <= '],
  [/ <= /g, ' < '],
  [/ > /g, ' >= '],
  [/ >= /g, ' > '],
  [/ \+ /g, ' - '],
  [/ - /g, ' + '],
  [/ \+= /g, ' -= '],
  [/ -= /g, ' += '],
  [/\+\+/g, '--'],
  [/\bMath\.min\b/g, 'Math.max'],
  [/\bMath\.max\b/g, 'Math.min'],
  [/\btrue\b/g, 'false'],
  [/\bfalse\b/g, 'true'],
  [/\bif \(!/g, 'if ('],
  [/\bif \((?!!)/g, 'if (!'],
  [/\bcontinue;/g, ';'],
  [/\bbreak;/g, ';'],
  [/\breturn;/g, ';'],
];

/** A call, an assignment or an `await` that is a whole statement of one line. */
const statement = /^\s+(?:await |void )?(?:this\.)?[\w#.?!]+(?:\(.*\)| [-+?&|]*= .*|\+\+);$/;

/** What is code in each line: comments and what is imported or typed stay as they are. */
function codeLines(text: string): boolean[] {
  let isComment = false;
  let isSkipped = false;
  return text.split('\n').map((line) => {
    const trimmed = line.trim();
    if (/^(?:import|export type|export interface|type|interface)\b/.test(line)) isSkipped = true;
    const wasSkipped = isSkipped;
    if (isSkipped && /^(?:\}.*|.*;)$/.test(line)) isSkipped = false;
    if (trimmed.startsWith('/*')) isComment = true;
    const wasComment = isComment;
    if (trimmed.endsWith('*/')) isComment = false;
    return !wasSkipped && !wasComment && !trimmed.startsWith('//');
  });
}

export function mutationsOf(text: string): Mutation[] {
  const isCode = codeLines(text);
  return text.split('\n').flatMap((before, index) => {
    if (isCode[index] !== true) return [];
    const found: Mutation[] = [];
    const add = (after: string) => found.push({ line: index + 1, before, after });
    for (const [from, to] of swaps) {
      for (const match of before.matchAll(from)) {
        if (isQuoted(before, match.index)) continue;
        add(before.slice(0, match.index) + to + before.slice(match.index + match[0].length));
      }
    }
    if (statement.test(before)) add(`${/^\s*/.exec(before)?.[0] ?? ''};`);
    return found;
  });
}

/** Whether the place is in a string of one line. */
function isQuoted(line: string, at: number): boolean {
  let quote = '';
  for (let index = 0; index < at; index++) {
    const char = line[index] ?? '';
    if (char === '\\') index++;
    else if (quote === '' && /['"`]/.test(char)) quote = char;
    else if (char === quote) quote = '';
  }
  return quote !== '';
}

export function mutated(text: string, { line, after }: Mutation): string {
  const lines = text.split('\n');
  lines[line - 1] = after;
  return lines.join('\n');
}
