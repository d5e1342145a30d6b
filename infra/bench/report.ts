/** The figures of a run as tables for people. */
import type { Figure, Outcome, Scenario } from './scenarios.ts';

export interface Result {
  readonly server: string;
  readonly outcome: Outcome | { readonly failure: string };
}

/** One scenario on all its servers. */
export interface Report {
  readonly scenario: Scenario;
  readonly results: readonly Result[];
  /** The server that the others are compared with. */
  readonly baseline: string;
}

/** One scenario: a row for each figure, a column for each server, and how each compares with the baseline. */
export function scenarioTable({ scenario: { name, title, group }, results, baseline }: Report): string {
  const figuresOf = (server: string): readonly Figure[] => {
    const outcome = results.find((result) => result.server === server)?.outcome;
    return outcome !== undefined && 'figures' in outcome ? outcome.figures : [];
  };
  const servers = results.map(({ server }) => server);
  // In the order of whoever has the most to tell: its rows of single processes then stand below their sum.
  const byWealth = servers.toSorted((a, b) => figuresOf(b).length - figuresOf(a).length);
  const wanted = new Map(byWealth.flatMap(figuresOf).map((figure) => [figure.name, figure]));
  const rows = [...wanted.values()].map((row) => [
    `${row.name}, ${row.unit}`,
    ...servers.map((server) => {
      const value = figuresOf(server).find((figure) => figure.name === row.name)?.value;
      if (value === undefined) return '–';
      const base = figuresOf(baseline).find((figure) => figure.name === row.name)?.value;
      const isCompared = row.isContext !== true && server !== baseline && base !== undefined && base !== 0;
      return isCompared ? `${number(value)} (${(value / base).toFixed(2)}×)` : number(value);
    }),
    group === undefined ? (row.target ?? '') : '',
  ]);
  const header = ['', ...servers, rows.some((row) => row.at(-1) !== '') ? 'target' : ''];
  return [
    `${title}  [${name}]`,
    ...grid([header, ...rows]),
    ...remarksOf({ results }).map((text) => `  ${text}`),
    '',
  ].join('\n');
}

/** What a reader must know before believing the figures. */
export function remarksOf({ results }: Pick<Report, 'results'>): readonly string[] {
  const remarks = results.flatMap(({ server, outcome }) =>
    'failure' in outcome
      ? [`${server} FAILED: ${outcome.failure}`]
      : outcome.remarks.map((text) => `${server}: ${text}`),
  );
  return [...new Set(remarks)];
}

/** Columns lined up: the first to the left, figures to the right, the last to the left. */
function grid(rows: ReadonlyArray<readonly string[]>): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return column === 0 || column === row.length - 1 ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('   ')
      .replace(/^/, '  ')
      .trimEnd(),
  );
}

export function number(value: number): string {
  if (value >= 1_000) return Math.round(value).toLocaleString('en-US');
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
