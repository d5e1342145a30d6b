/** Lists, a page at a time. */
import { latestMs } from '../contract/fields.ts';
import { fail } from './answer.ts';
import type { Failed } from './implement.ts';

/** Where a page begins: behind what is sorted at these values. */
export type Position = readonly (string | number)[];

/** `time`: milliseconds since 1970. */
export type PositionKind = 'string' | 'number' | 'time';

/**
 * Where the page of this cursor begins, undefined for the first. `kinds` says what the list is sorted by; a cursor of
 * another list is refused. A made-up cursor shows only what its sender may see anyway.
 */
export function parseCursor(
  list: string,
  kinds: readonly PositionKind[],
  cursor: string | undefined,
): { readonly ok: true; readonly value: Position | undefined } | Failed {
  if (cursor === undefined) return { ok: true, value: undefined };
  const refused = fail('fields_invalid', {
    message: 'This cursor is none of this list',
    fields: { cursor: 'must be `nextCursor` of the page before' },
  });
  let read: unknown;
  try {
    read = JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    return refused;
  }
  if (!Array.isArray(read) || read.length !== kinds.length + 1 || read[0] !== list) return refused;
  const position: unknown[] = read.slice(1);
  const fits = position.every((value, at) => isOfKind(value, kinds[at]));
  return fits ? { ok: true, value: position as Position } : refused;
}

function isOfKind(value: unknown, kind: PositionKind | undefined): boolean {
  // Postgres takes no text with a zero character in it.
  if (kind === 'string') return typeof value === 'string' && !value.includes('\0');
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) return false;
  // Of the moments that JavaScript has, Postgres cannot read all.
  return kind === 'number' || (value >= 0 && value <= latestMs);
}

/** Of one row more than was asked for: that there is one says that another page follows. */
export function toPage<Row, Item>(
  list: string,
  limit: number,
  rows: readonly Row[],
  positionOf: (row: Row) => Position,
  toItem: (row: Row) => Item,
): { items: Item[]; nextCursor: string | null } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const isLast = rows.length <= limit || last === undefined;
  return {
    items: shown.map(toItem),
    nextCursor: isLast ? null : Buffer.from(JSON.stringify([list, ...positionOf(last)])).toString('base64url'),
  };
}
