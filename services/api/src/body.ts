/** A request's body: JSON that holds an object. */
import { isUtf8 } from 'node:buffer';
import { type Fields, nameType } from '@starling/core';
import { type Checked, isNestedDeeper, limits, refuse } from '@starling/protocol';

export const notUtf8 = 'The body is not valid UTF-8';

/** Refuses with `request_malformed` or `json_too_deep`. */
export function parseBody(body: Buffer): Checked<Fields> {
  // Otherwise broken bytes would be replaced, and the data not delivered verbatim.
  if (!isUtf8(body)) return refuse('request_malformed', notUtf8);
  const text = body.toString();
  if (isNestedDeeper(text, limits.jsonDepth)) return refuse('json_too_deep');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (err) {
    return refuse('request_malformed', `The body is not valid JSON${whereItBreaks(err)}`);
  }
  if (isObject(value)) return { ok: true, value };
  return refuse('request_malformed', `Expected the body to be a JSON object, got ${nameType(value)}`);
}

/** Of the parser's own text the position alone: the rest repeats the body. */
function whereItBreaks(err: unknown): string {
  const [, position] = /position (\d+)/.exec(err instanceof Error ? err.message : '') ?? [];
  return position === undefined ? '' : `, at character ${position}`;
}

export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
