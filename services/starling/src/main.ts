/** The command line. */
import { parseArgs } from 'node:util';
import { createLog, loadConfig, runProgram } from '@starling/runtime';
import { banner } from './banner.ts';
import { compose, type Part } from './compose.ts';
import { healthSettings, partSettings, startSettings } from './config.ts';
import { firstApp, givenApp } from './first-app.ts';
import { askHealth } from './health.ts';

/** Written in by the build; absent where the source runs as it is. */
declare const STARLING_VERSION: string | undefined;

const commands: Readonly<Record<string, () => Promise<void>>> = {
  start,
  edge: () => startPart('edge'),
  api: () => startPart('api'),
  health,
};

await main(process.argv.slice(2));

async function main(args: string[]): Promise<void> {
  const read = parse(args);
  if (read === undefined) return;
  const { help, version, command } = read;
  if (version) process.stdout.write(`${typeof STARLING_VERSION === 'string' ? STARLING_VERSION : 'from source'}\n`);
  else if (help || command === undefined) process.stdout.write(usage());
  else if (Object.hasOwn(commands, command)) await commands[command]?.();
  else misused(`There is no command ${JSON.stringify(command)}.`);
}

function parse(args: string[]): { help: boolean; version: boolean; command: string | undefined } | undefined {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { help: { type: 'boolean', short: 'h' }, version: { type: 'boolean', short: 'v' } },
    });
    if (positionals.length > 1) {
      misused(`Expected one command, got ${positionals.join(' ')}.`);
      return undefined;
    }
    return { help: values.help ?? false, version: values.version ?? false, command: positionals[0] };
  } catch (err) {
    misused(err instanceof Error ? err.message : String(err));
    return undefined;
  }
}

function misused(problem: string): void {
  process.stderr.write(`${problem}\n\n${usage()}`);
  process.exitCode = 2;
}

function usage(): string {
  const width = Math.max(...Object.keys(startSettings.shape).map((name) => name.length)) + 2;
  const lines = Object.entries(startSettings.shape).map(
    ([name, field]) => `  ${name.padEnd(width)}${field.description}`,
  );
  return `Usage: starling <command>

Commands:
  start    Serve realtime connections and the HTTP API, in one process
  edge     Serve realtime connections, as one of the programs of a cluster
  api      Serve the HTTP API, as one of the programs of a cluster
  health   Exit with 0 if the Starling started with these settings is alive, else with 1

Options:
  -h, --help      Print this
  -v, --version   Print the version

The programs of a cluster need REDIS_URL and the app's id, key and secret, the same for all; "start" needs neither.

Settings, from the environment:
${lines.join('\n')}
`;
}

async function start(): Promise<void> {
  const settings = loadConfig(startSettings);
  const isTerminal = process.stdout.isTTY === true;
  const log = createLog({ level: settings.STARLING_LOG_LEVEL, isReadable: isTerminal });
  await runProgram(log, () => {
    const app = firstApp(settings);
    return compose(settings, ['edge', 'api'], app, log, (url) => {
      const [key] = app.keys;
      if (key === undefined) return;
      // Straight to stdout: a secret has no place in the log.
      process.stdout.write(
        banner({
          url,
          pathPrefix: settings.STARLING_PATH_PREFIX,
          app: { id: app.id, key: key.key, secret: key.secret },
          hasColour: isTerminal && process.stdout.hasColors(),
        }),
      );
    });
  });
}

async function startPart(part: Part): Promise<void> {
  const settings = loadConfig(partSettings);
  const log = createLog({ level: settings.STARLING_LOG_LEVEL, isReadable: process.stdout.isTTY === true });
  await runProgram(log, () =>
    compose(settings, [part], givenApp(settings), log, (url) => log.info({ program: part, url }, 'Ready')),
  );
}

async function health(): Promise<void> {
  const problem = await askHealth(loadConfig(healthSettings));
  if (problem === undefined) return;
  process.stderr.write(`${problem}\n`);
  process.exitCode = 1;
}
