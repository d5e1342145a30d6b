/** A request's body: JSON that holds an object. */
import { isUtf8 } from 'node:buffer';
import { type Fields, nameType } from '@starling/core';
import { type Checked, refuse } from '@starling/protocol';

export const notUtf8 = 'The body is not valid UTF-8';

/** Refuses with `request_malformed`. */
export function parseBody(body: Buffer): Checked<Fields> {
  // Otherwise broken bytes would be replaced, and the data not delivered verbatim.
  if (!isUtf8(body)) return refuse('request_malformed', notUtf8);
  let value: unknown;
  try {
    value = JSON.parse(body.toString());
  } catch (err) {
    return refuse(
      'request_malformed',
      `The body is not valid JSON: ${err instanceof Error ? err.message : 'unreadable'}`,
    );
  }
  if (isObject(value)) return { ok: true, value };
  return refuse('request_malformed', `Expected the body to be a JSON object, got ${nameType(value)}`);
}

export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
