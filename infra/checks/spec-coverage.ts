/** SPEC.md and the tests: every rule has a test that says so in its title, and every title a rule. */
import { isProof, type SourceFile } from './source.ts';

export function rulesOf(spec: string): readonly string[] {
  return [...spec.matchAll(/^- \*\*([A-Z]{2}\d+)\*\* /gm)].map((match) => match[1] ?? '');
}

/** The rules named at the beginning of a title: `'[CH1] …'`, `'[CH1] [CH4] …'`. */
export function rulesInTitles(text: string): readonly string[] {
  return [...text.matchAll(/['"`]((?:\[[A-Z]{2}\d+\][ ,]*)+)/g)].flatMap((match) =>
    [...(match[1] ?? '').matchAll(/[A-Z]{2}\d+/g)].map(([rule]) => rule),
  );
}

export function specFaults(spec: string, files: readonly SourceFile[]): string[] {
  const rules = rulesOf(spec);
  const proved = new Set<string>();
  const faults = rules
    .filter((rule, index) => rules.indexOf(rule) !== index)
    .map((rule) => `${rule} stands twice in SPEC.md`);
  for (const { path, text } of files) {
    // The checks' own tests hold made-up titles.
    if (!isProof(path) || path.startsWith('infra/checks/')) continue;
    for (const rule of rulesInTitles(text)) {
      proved.add(rule);
      if (!rules.includes(rule)) faults.push(`${path}: [${rule}] is no rule of SPEC.md`);
    }
  }
  return [...faults, ...rules.filter((rule) => !proved.has(rule)).map((rule) => `${rule} has no test`)];
}
