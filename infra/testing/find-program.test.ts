import { expect, test } from 'vitest';
import { findProgram, type Machine } from './find-program.ts';

const wanted = { env: 'BROWSER_PATH', names: ['chromium', 'chrome'], aptPackage: 'chromium' };

function machine(over: Partial<Machine> & { programs?: string[]; afterInstall?: string[] } = {}) {
  const programs = new Set(over.programs ?? []);
  const said: string[] = [];
  const it: Machine = {
    env: { PATH: '/bin:/opt/bin' },
    isExecutable: (path) => programs.has(path),
    canInstall: false,
    install: () => {
      for (const path of over.afterInstall ?? []) programs.add(path);
    },
    say: (text) => void said.push(text),
    ...over,
  };
  return { it, said };
}

test('takes the program that the variable names, and refuses one that cannot be run instead of looking on', () => {
  const env = { BROWSER_PATH: '/my/browser', PATH: '/bin' };
  expect(findProgram(wanted, machine({ env, programs: ['/my/browser', '/bin/chromium'] }).it)).toBe('/my/browser');
  expect(() => findProgram(wanted, machine({ env, programs: ['/bin/chromium'] }).it)).toThrow(
    'BROWSER_PATH is /my/browser, which is not a program',
  );
});

test('prefers the first name wherever on PATH it is', () => {
  expect(findProgram(wanted, machine({ programs: ['/bin/chrome', '/opt/bin/chromium'] }).it)).toBe('/opt/bin/chromium');
});

test('installs it where it can, and says so', () => {
  const { it, said } = machine({ canInstall: true, afterInstall: ['/bin/chromium'] });
  expect(findProgram(wanted, it)).toBe('/bin/chromium');
  expect(said.join('')).toContain('installing the package chromium with apt-get');
});

test('otherwise says what to install', () => {
  expect(() => findProgram(wanted, machine().it)).toThrow('apt-get install chromium), or set BROWSER_PATH');
  expect(() => findProgram(wanted, machine({ canInstall: true }).it)).toThrow('apt-get install chromium');
});
