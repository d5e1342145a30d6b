/** How deep JSON may be nested: asked of its text, because the parser's time and stack are what must be kept safe. */

const [quote, backslash, openArray, openObject, closeArray, closeObject] = [0x22, 0x5c, 0x5b, 0x7b, 0x5d, 0x7d];

/**
 * Whether the text nests arrays and objects deeper than `depth`. Reads until it knows, at most once through the text,
 * and allocates nothing; of text that is no JSON the answer means nothing, and the parser has its say.
 */
export function isNestedDeeper(text: string, depth: number): boolean {
  // Text too short to be so deep is not read: `depth` opening brackets take `depth` characters.
  if (text.length <= depth) return false;
  let open = 0;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit === quote) {
      index = endOfString(text, index);
      if (index === -1) return false;
    } else if (unit === openArray || unit === openObject) {
      if (++open > depth) return true;
    } else if (unit === closeArray || unit === closeObject) {
      open--;
    }
  }
  return false;
}

/** The index of the quote that ends the string which begins at `start`, or -1. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let escapes = 0;
    while (text.charCodeAt(end - 1 - escapes) === backslash) escapes++;
    if (escapes % 2 === 0) return end;
  }
  return -1;
}
