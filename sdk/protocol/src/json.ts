/** JSON text of strangers: bounded in depth, never a throw. */
import { limits } from './limits.ts';
import { isNestedDeeper } from './nesting.ts';
import { wireProblems } from './problems/wire.ts';

/** Undefined for text that is not JSON, and for what is nested too deeply: no JSON text parses to undefined. */
export function parseJson(text: string, depth: number = limits.jsonDepth): unknown {
  if (isNestedDeeper(text, depth)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    // The only fault JSON.parse has is "this is not JSON", which is what undefined says.
    return undefined;
  }
}

/** Why the text of JSON was not taken: nested too deeply, or else what is said of it otherwise. */
export function faultOf(
  text: string,
  otherwise: string = wireProblems.frame_malformed.text,
  what = 'A frame',
  depth: number = limits.jsonDepth,
): string {
  if (!isNestedDeeper(text, depth)) return otherwise;
  return `${what} nests arrays and objects at most ${limits.jsonDepth} deep`;
}

/** Null when the value is nested deeper than the stack: JSON.parse takes what JSON.stringify cannot give back. */
export function stringifyJson(value: unknown): string | null {
  try {
    return JSON.stringify(value);
  } catch {
    return null;
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Bytes of the text in UTF-8. A lone surrogate counts as the replacement character it would become. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (unit >= 0xd800 && unit < 0xdc00 && (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00) {
      bytes += 2;
      index++;
    } else bytes += 2;
  }
  return bytes;
}
