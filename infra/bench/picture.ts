/** CPU per unit as a picture: a bar for each server, one figure below the other. Less is better. */
import { number, type Report, remarksOf } from './report.ts';

const width = 960;
const margin = 24;
/** Where bars begin, and how long the longest of a figure is: behind it there is room for its value. */
const [barFrom, barMost] = [margin + 150, width - 2 * margin - 150 - 170];
const barHeight = 16;

/** GitHub shows it on either background; the colours hold on both. */
const style = `
  text { font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
  .title { font-size: 20px; font-weight: 600 } .scenario { font-size: 14px; font-weight: 600 }
  .quiet { fill: #656d76; font-weight: 400 } .ours { font-weight: 600 }
  .back { fill: #ffffff } rect.bar { fill: #afb8c1 } rect.ours { fill: #0969da } line { stroke: #d1d9e0 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #8d96a0 } .back { fill: #0d1117 }
    rect.bar { fill: #545d68 } rect.ours { fill: #4493f8 } line { stroke: #3d444d }
  }`;

interface Bar {
  readonly server: string;
  readonly value: number;
  /** As a multiple of the baseline's; not of the baseline itself. */
  readonly ratio: number | undefined;
}

const title = 'CPU of the server for each unit of work: less is better';

/** An SVG document. `conditions` say what was measured where; only figures of CPU for each of something are shown. */
export function cpuPicture(reports: readonly Report[], conditions: string): string {
  const parts: string[] = [];
  let y = margin;
  const text = (x: number, content: string, kind: string, anchor = 'start'): void => {
    parts.push(`<text x="${x}" y="${y}" class="${kind}" text-anchor="${anchor}">${content}</text>`);
  };
  const paragraph = (content: string, kind: string, height: number): void => {
    for (const line of lines(content, 120)) {
      y += height;
      text(margin, escaped(line), kind);
    }
  };
  const bar = ({ server, value, ratio }: Bar, most: number): void => {
    const kind = server.startsWith('starling') ? 'ours' : 'other';
    const length = most === 0 ? 0 : (barMost * value) / most;
    const box = `x="${barFrom}" y="${y + 4}" width="${length.toFixed(1)}" height="${barHeight}"`;
    parts.push(`<rect class="bar ${kind}" ${box} rx="2"/>`);
    y += 17;
    text(barFrom - 10, escaped(server), kind, 'end');
    const multiple = ratio === undefined ? '' : `<tspan class="quiet" dx="8">${ratio.toFixed(2)}×</tspan>`;
    text(barFrom + length + 8, `${number(value)}${multiple}`, kind);
    y += 7;
  };

  paragraph(title, 'title', 20);
  paragraph(conditions, 'quiet', 20);
  for (const report of reports) {
    const figures = cpuFigures(report);
    if (figures.length === 0) continue;
    y += 24;
    parts.push(`<line x1="${margin}" y1="${y}" x2="${width - margin}" y2="${y}"/>`);
    paragraph(report.scenario.title, 'scenario', 22);
    for (const [name, bars] of figures) {
      const isCompared = bars.some(({ ratio }) => ratio !== undefined);
      paragraph(`${name}, µs${isCompared ? `, and as a multiple of ${report.baseline}` : ''}`, 'quiet', 24);
      y += 4;
      for (const each of bars) bar(each, Math.max(...bars.map(({ value }) => value)));
    }
    for (const remark of remarksOf(report)) paragraph(remark, 'quiet', 18);
  }
  const height = y + margin;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    `<title>${title}</title>`,
    `<style>${style}</style>`,
    `<rect class="back" width="${width}" height="${height}"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

/** By name, in the order they were measured. What single processes of a cluster took is left to the table. */
function cpuFigures({ results, baseline }: Report): ReadonlyArray<readonly [string, readonly Bar[]]> {
  const byName = new Map<string, Array<{ server: string; value: number }>>();
  for (const { server, outcome } of results) {
    for (const { name, unit, value } of 'figures' in outcome ? outcome.figures : []) {
      if (unit !== 'µs' || !name.startsWith('CPU per ') || name.includes(':')) continue;
      const bars = byName.get(name) ?? [];
      bars.push({ server, value });
      byName.set(name, bars);
    }
  }
  return [...byName].map(([name, bars]) => {
    const base = bars.find(({ server }) => server === baseline)?.value ?? 0;
    const withRatio = ({ server, value }: { server: string; value: number }): Bar => ({
      server,
      value,
      ratio: server === baseline || base === 0 ? undefined : value / base,
    });
    return [name, bars.map(withRatio)] as const;
  });
}

/** Broken between words: SVG breaks no lines. */
function lines(text: string, length: number): string[] {
  const broken: string[] = [];
  for (const word of text.split(' ')) {
    const last = broken.at(-1);
    if (last !== undefined && last.length + word.length < length) broken[broken.length - 1] = `${last} ${word}`;
    else broken.push(word);
  }
  return broken;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
