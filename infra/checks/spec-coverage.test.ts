import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readSources, root } from './source.ts';
import { rulesOf, specFaults } from './spec-coverage.ts';

const spec = readFileSync(join(root, 'sdk/protocol/SPEC.md'), 'utf8');

test('every rule of SPEC.md has a test whose title begins with it, and every such title a rule', () => {
  expect(rulesOf(spec).length).toBeGreaterThan(100);
  expect(specFaults(spec, readSources(['.ts', '.tsx']))).toEqual([]);
});

test('planted faults are found', () => {
  const planted = '- **CH1** A name.\n- **CH2** A kind.\n- **CH2** Again.\n- **CH3** Unproved.\ntext **CH9** inside\n';
  const files = [
    { path: 'sdk/protocol/src/names.test.ts', text: "test('[CH1] takes', f); test.each(x)(`[CH2], [CH7] $a`, f);" },
    // Neither a title's middle nor a source file proves anything.
    { path: 'sdk/protocol/src/frames.test.ts', text: "test('takes what [CH3] says', f);" },
    { path: 'sdk/protocol/src/names.ts', text: "const title = '[CH3] said in the source';" },
  ];
  expect(specFaults(planted, files)).toEqual([
    'CH2 stands twice in SPEC.md',
    'sdk/protocol/src/names.test.ts: [CH7] is no rule of SPEC.md',
    'CH3 has no test',
  ]);
});
