// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the cases are source text
import { expect, test } from 'vitest';
import { code, importsOf } from './source.ts';

test.each([
  ['a line comment', 'a; // b\nc;', 'a;     \nc;'],
  ['a block comment over lines', 'a /* b\nc */ d', 'a     \n     d'],
  ['a slash in a string', "x = '// no'; // yes", "x = '// no';       "],
  ['an escaped quote', "x = 'it\\'s // no'; // yes", "x = 'it\\'s // no';       "],
  ['a slash in a template', 'x = `// ${y /* z */} // no`; // yes', 'x = `// ${y        } // no`;       '],
  ['a template in a template', 'x = `${`//` + "//"}//`; // y', 'x = `${`//` + "//"}//`;     '],
  ['braces in a template', 'x = `${{ a: 1 }}//`; // y', 'x = `${{ a: 1 }}//`;     '],
  ['a regular expression', "x.replace(/\\/\\*'/, y); // z", "x.replace(/\\/\\*'/, y);     "],
  ['a class in one', "x = /[/'*]/; // z", "x = /[/'*]/;     "],
  ['a division', 'x = a / b; // c / d', 'x = a / b;         '],
])('code() blanks the comments beside %s', (_name, text, expected) => {
  expect(code(text)).toBe(expected);
});

test('code() blanks what is inside strings, templates and regular expressions when asked', () => {
  expect(code("f('let x', `let ${let_} y`, /let/)", 'blank')).toBe("f('     ', `     {let_}  `, /   /)");
});

test('importsOf() finds every form, with its line', () => {
  const text = [
    "import a from 'a';",
    "import type { B } from 'b';",
    "import 'c';",
    'import {',
    '  d,',
    "} from 'd';",
    "export * from 'e';",
    "export { f } from 'f';",
    "const g = await import('g');",
    "const h = require('h');",
    'const text = \'import i from "i"\';',
    "export const from = 'j';",
    "const k: import('k').K = 1;",
  ].join('\n');
  expect(importsOf(text).map(({ specifier, line }) => `${specifier} ${line}`)).toEqual([
    'a 1',
    'b 2',
    'c 3',
    'd 6',
    'e 7',
    'f 8',
    'g 9',
    'h 10',
    'k 13',
  ]);
});
