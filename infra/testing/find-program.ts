/** Finds a program the tests need, or installs it where that is possible without asking, or says what to install. */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export interface WantedProgram {
  /** The variable that names it; where given, nothing else is tried. */
  readonly env: string;
  /** What it may be called on PATH, the best first. */
  readonly names: readonly string[];
  /** What Debian and Ubuntu call its package. */
  readonly aptPackage: string;
}

/** What is asked of the machine, so that a test can be one. */
export interface Machine {
  readonly env: Readonly<Record<string, string | undefined>>;
  isExecutable(path: string): boolean;
  /** Whether packages can be installed here: Debian or Ubuntu, as root. */
  readonly canInstall: boolean;
  install(aptPackage: string): void;
  say(text: string): void;
}

/** The program's path. Throws an error that says what to do. */
export function findProgram(wanted: WantedProgram, machine: Machine = thisMachine()): string {
  const { env, names, aptPackage } = wanted;
  const given = machine.env[env];
  if (given !== undefined && given !== '') {
    if (machine.isExecutable(given)) return given;
    throw new Error(`${env} is ${given}, which is not a program that can be run`);
  }
  const found = search(wanted, machine);
  if (found !== undefined) return found;
  if (machine.canInstall) {
    machine.say(`None of ${names.join(', ')} is on PATH: installing the package ${aptPackage} with apt-get\n`);
    machine.install(aptPackage);
    const installed = search(wanted, machine);
    if (installed !== undefined) return installed;
  }
  throw new Error(
    `The integration tests need ${names[0]}, and none of ${names.join(', ')} is on PATH. ` +
      `Install it (Debian, Ubuntu: apt-get install ${aptPackage}), or set ${env} to the path of the program.`,
  );
}

function search({ names }: WantedProgram, machine: Machine): string | undefined {
  const folders = (machine.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return names
    .flatMap((name) => folders.map((folder) => join(folder, name)))
    .find((path) => machine.isExecutable(path));
}

function thisMachine(): Machine {
  return {
    env: process.env,
    isExecutable: (path) => {
      try {
        accessSync(path, constants.X_OK);
        return statSync(path).isFile();
      } catch {
        // Missing, or not ours to run: in both cases it is not the one.
        return false;
      }
    },
    canInstall: process.getuid?.() === 0 && isDebianLike(),
    install: (aptPackage) => {
      // Only its errors are shown: the rest is a hundred lines about packages.
      const aptGet = (...args: string[]) =>
        execFileSync('apt-get', args, {
          stdio: ['ignore', 'ignore', 'inherit'],
          env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
        });
      aptGet('update', '-qq');
      aptGet('install', '-qq', '-y', '--no-install-recommends', aptPackage);
    },
    say: (text) => void process.stderr.write(text),
  };
}

function isDebianLike(): boolean {
  try {
    return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    // No such file: not a Debian.
    return false;
  }
}
