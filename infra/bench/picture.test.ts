import { describe, expect, it } from 'vitest';
import { cpuPicture } from './picture.ts';
import type { Report, Result } from './report.ts';

const server = (name: string, value: number, remarks: readonly string[] = []): Result => ({
  server: name,
  outcome: {
    figures: [
      { name: 'CPU per delivery', unit: 'µs', value },
      { name: 'CPU per delivery: edge 1', unit: 'µs', value: 1 },
      { name: 'deliveries', unit: '1/s', value: 1_000 },
    ],
    remarks,
    raw: [],
  },
});
const report = (results: readonly Result[]): Report => ({
  scenario: { name: 'fanout', title: 'Fan-out of <a> & "b"', run: async () => {} },
  results,
  baseline: 'naive ws',
});
const widths = (svg: string) =>
  [...svg.matchAll(/class="bar (\w+)".* width="([\d.]+)"/g)].map(([, kind, text]) => [kind, text]);

describe('the picture of CPU', () => {
  it('has a bar for each server and figure of CPU, as long as its value, with its multiple of the baseline', () => {
    const svg = cpuPicture([report([server('starling', 4), server('naive ws', 16), server('other', 8)])], 'here');
    const [ours, naive, other] = widths(svg).map(([, text]) => Number(text));
    expect(widths(svg).map(([kind]) => kind)).toEqual(['ours', 'other', 'other']);
    expect(ours).toBeCloseTo((naive ?? 0) / 4, 0);
    expect(other).toBeCloseTo((naive ?? 0) / 2, 0);
    expect([...svg.matchAll(/([\d.]+)×/g)].map(([, ratio]) => ratio)).toEqual(['0.25', '0.50']);
  });

  it('leaves out what failed or has no such figure, says remarks, and is well-formed whatever the names are', () => {
    const failed: Result = { server: 'nginx', outcome: { failure: 'gone < & >' } };
    const svg = cpuPicture([report([server('starling', 0, ['busy']), failed]), report([failed])], 'a & b');
    expect(widths(svg)).toEqual([['ours', '0.0']]);
    expect(svg).toContain('>starling: busy<');
    expect(svg).toContain('nginx FAILED: gone &lt; &amp; &gt;');
    expect(svg.replaceAll(/&(amp|lt|gt|quot);/g, '')).not.toContain('&');
    expect(svg.match(/Fan-out of &lt;a&gt; &amp; &quot;b&quot;/g)).toHaveLength(1);
  });
});
