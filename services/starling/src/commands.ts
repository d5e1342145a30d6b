/** What each command does. */
import {
  crashNews,
  createLog,
  findSupervisor,
  type Log,
  loadConfig,
  type OwnPort,
  openPort,
  PinoObserver,
  readyNews,
  runProgram,
  unknownSettings,
} from '@starling/runtime';
import type { FirstStart } from './apps.ts';
import type { ReadArguments } from './arguments.ts';
import { runBackup, runRestore } from './backup-commands.ts';
import { banner, publicUrlOf, setupUrl } from './banner.ts';
import { compose } from './compose.ts';
import { composeWorkers } from './compose-workers.ts';
import {
  controlSettings,
  type DatabaseCommandSettings,
  databaseCommandSettings,
  healthSettings,
  partSettings,
  type Settings,
  startSettings,
} from './config.ts';
import { askHealth } from './health.ts';
import type { OnReady, Part } from './program-options.ts';
import { version } from './version.ts';

/** What a command is run with. */
interface Given {
  readonly commandLine: Readonly<Record<string, string>>;
  readonly file: string;
  readonly opening: Promise<OwnPort> | undefined;
}

interface Command {
  readonly run: (given: Given) => Promise<void>;
  readonly hasWorkers: boolean;
  readonly takesFile?: boolean;
}

const commands: Readonly<Record<string, Command>> = {
  start: { run: start, hasWorkers: true },
  edge: { run: (given) => startPart('edge', given), hasWorkers: true },
  api: { run: (given) => startPart('api', given), hasWorkers: true },
  control: { run: startControl, hasWorkers: true },
  health: { run: health, hasWorkers: false },
  backup: { run: ({ file }) => runOnce(runBackup, file), hasWorkers: false, takesFile: true },
  restore: { run: ({ file }) => runOnce(runRestore, file), hasWorkers: false, takesFile: true },
};

/** `opening`: the port, if the command was seen to need one before all this was loaded. */
export async function runCommand(read: ReadArguments, opening: Promise<OwnPort> | undefined): Promise<void> {
  if (!read.ok) {
    misused(read.problem);
    return;
  }
  const { help, version: isVersionAsked, workers, name, operands } = read.value;
  const command = name !== undefined && Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (isVersionAsked) process.stdout.write(`${version}\n`);
  else if (help || name === undefined) process.stdout.write(usage());
  else if (command === undefined) misused(`There is no command ${JSON.stringify(name)}.`);
  else if (workers !== undefined && !command.hasWorkers) misused(`${name} has no workers.`);
  else if (operands.length !== (command.takesFile === true ? 1 : 0))
    misused(
      command.takesFile === true
        ? `${name} takes one file.`
        : `Expected one command, got ${[name, ...operands].join(' ')}.`,
    );
  else {
    await command.run({
      commandLine: workers === undefined ? {} : { STARLING_WORKERS: workers },
      file: operands[0] ?? '',
      opening,
    });
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
  control  Serve the admin API, as one of the programs of a cluster
  backup   Write everything in the database to a file: starling backup FILE
  restore  Replace everything in the database by what a backup holds: starling restore FILE
  health   Exit with 0 if the Starling started with these settings is alive, else with 1

Options:
  --workers N     Share the port and the work among N processes, or "auto" for one on each core; needs REDIS_URL
  -h, --help      Print this
  -v, --version   Print the version

The programs of a cluster need REDIS_URL, and either DATABASE_URL and STARLING_SECRET_KEY or the app's id, key and secret,
the same for all; "start" needs none of these.

Settings, from the environment:
${lines.join('\n')}
`;
}

async function start({ commandLine, opening }: Given): Promise<void> {
  const settings = loadConfig(startSettings, commandLine);
  const { stdout } = process;
  await serve(settings, ['edge', 'api', 'control'], opening, (_log, url, { app, isSecretNew, setupToken }) => {
    const pathPrefix = settings.STARLING_PATH_PREFIX;
    // What is no terminal is kept somewhere: there a secret is printed once, when it is made.
    const showsSecret = stdout.isTTY === true || isSecretNew === true;
    // Straight to stdout: a secret has no place in the log.
    stdout.write(
      banner({
        url,
        pathPrefix,
        publicUrl: settings.STARLING_PUBLIC_URL,
        app: app && { ...app, secret: showsSecret ? app.secret : undefined },
        setupLink: setupToken && setupUrl(publicUrlOf(settings.STARLING_PUBLIC_URL, url, pathPrefix), setupToken),
        hasColour: stdout.isTTY === true && stdout.hasColors(),
      }),
    );
  });
}

async function startPart(part: Part, { commandLine, opening }: Given): Promise<void> {
  const settings = loadConfig(partSettings, commandLine);
  await serve(settings, [part], opening, (log, url) => log.info({ program: part, url }, 'Ready'));
}

async function startControl({ commandLine, opening }: Given): Promise<void> {
  const settings = loadConfig(controlSettings, commandLine);
  await serve(settings, ['control'], opening, (log, url, { setupToken }) => {
    log.info({ program: 'control', url }, 'Ready');
    if (setupToken === undefined) return;
    // Straight to stdout: who has this link owns the installation.
    const link = setupUrl(publicUrlOf(settings.STARLING_PUBLIC_URL, url, settings.STARLING_PATH_PREFIX), setupToken);
    process.stdout.write(`\n  Open this once to make yourself the owner: ${link}\n\n`);
  });
}

/** In this process, or as one of the workers, or as the one that has workers. */
async function serve(
  settings: Settings,
  parts: readonly Part[],
  opening: Promise<OwnPort> | undefined,
  announce: (log: Log, url: string, first: FirstStart) => void,
): Promise<void> {
  const log = createLog({ level: settings.STARLING_LOG_LEVEL, isReadable: process.stdout.isTTY === true });
  const observer = new PinoObserver(log);
  const supervisor = findSupervisor(observer);
  if (supervisor !== undefined) {
    const workerObserver = new PinoObserver(log.child({ worker: supervisor.number }));
    await runProgram(workerObserver, (ending) => {
      supervisor.channel.on(crashNews, ending.crash);
      supervisor.onGone(ending.crash);
      const onReady: OnReady = (url) => supervisor.channel.tell(readyNews, url);
      return compose({ settings, parts, observer: workerObserver, onReady }, supervisor.port, supervisor);
    });
    return;
  }
  for (const name of unknownSettings(Object.keys(startSettings.shape))) {
    log.warn(`${name} is no setting and counts for nothing: --help lists all there are`);
  }
  if (settings.STARLING_TRUST_PROXY === true) {
    log.warn(
      'STARLING_TRUST_PROXY=true believes what every client says of its own address and protocol: limits by address do ' +
        'not hold, and plain connections pass for TLS. Set it to the number of proxies in front, such as 1, or to their ' +
        'addresses',
    );
  }
  const onReady: OnReady = (url, first) => announce(log, url, first);
  const place = { settings, parts, observer, onReady };
  await runProgram(observer, async (ending) => {
    const { STARLING_HOST: host, STARLING_PORT: number } = settings;
    const port = await (opening ?? openPort({ host, port: number }));
    port.onError((err) => observer.defect('connection', err));
    return settings.STARLING_WORKERS > 1 ? composeWorkers(place, port, ending.giveUp) : compose(place, port);
  });
}

async function runOnce(
  run: (settings: DatabaseCommandSettings, file: string) => Promise<string>,
  file: string,
): Promise<void> {
  try {
    process.stdout.write(`${await run(loadConfig(databaseCommandSettings), file)}\n`);
  } catch (err) {
    process.stderr.write(`${err instanceof Error ? err.message : err}\n`);
    process.exitCode = 1;
  }
}

async function health(): Promise<void> {
  const problem = await askHealth(loadConfig(healthSettings));
  if (problem === undefined) return;
  process.stderr.write(`${problem}\n`);
  process.exitCode = 1;
}
