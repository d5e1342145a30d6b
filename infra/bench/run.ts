/** `npm run bench`: every scenario on every server, one report. `npm run bench -- --help` says how to ask for less. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findProgram } from '../testing/find-program.ts';
import { Children } from './children.ts';
import { buildLoad } from './load/load.ts';
import { cpuPicture } from './picture.ts';
import { forgetProfiles, profileFlags, topFunctions } from './profile.ts';
import { type Report, type Result, scenarioTable } from './report.ts';
import { type Outcome, type Scenario, Stage, scenarios } from './scenarios.ts';
import { type Server, Servers } from './servers.ts';
import { cpuModel, openFilesLimit } from './usage.ts';

const usage = `npm run bench -- [scenario ...] [options]

  scenarios         ${scenarios.map(({ name }) => name).join(' ')}; all of them when none is named;
                    redis: all of them over Redis but one worker beside two, which are workers
  --quick           fewer and shorter, starling and the naive server only, and those over Redis only when named: to see
                    that it works, in less than a minute
  --only NAME       only servers whose name begins so (repeatable): starling, naive, socket.io, nginx, peer, cluster,
                    workers
  --picture FILE    where the picture of CPU goes, an SVG, in the place of build/bench/cpu.svg
  --profile         starling alone, under node --cpu-prof: the functions with the most time of their own
  --peer-url URL    a Pusher-compatible server that is running already, with
  --peer-pid PID    its process,
  --peer-app ID  --peer-key KEY  --peer-secret SECRET   and an app of it

  Those over Redis use that of REDIS_URL, or start a redis-server of their own, or are left out where there is none.
`;

const buildDir = fileURLToPath(new URL('../../build/bench/', import.meta.url));
const children = new Children();

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      help: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      profile: { type: 'boolean', default: false },
      picture: { type: 'string', default: join(buildDir, 'cpu.svg') },
      only: { type: 'string', multiple: true, default: [] },
      'peer-url': { type: 'string' },
      'peer-pid': { type: 'string' },
      'peer-app': { type: 'string', default: 'app-id' },
      'peer-key': { type: 'string', default: 'app-key' },
      'peer-secret': { type: 'string', default: 'app-secret' },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  for (const name of positionals) {
    if (!scenarios.some((scenario) => isNamed(scenario, name))) throw new Error(`No scenario ${name}\n\n${usage}`);
  }
  if (process.platform !== 'linux') throw new Error('CPU and memory are read from /proc: the benchmarks need Linux');
  mkdirSync(buildDir, { recursive: true });
  const loadProgram = buildLoad(buildDir);
  const wanted = scenarios.filter((scenario) =>
    positionals.length === 0
      ? !(values.quick && (scenario.group === 'redis' || scenario.group === 'workers'))
      : positionals.some((name) => isNamed(scenario, name)),
  );
  const servers = wanted.some(({ group }) => group === undefined) ? chooseServers(values) : [];
  const overRedis = wanted.some(({ group }) => group === 'redis' || group === 'workers') ? chooseOverRedis(values) : [];
  const compressing = wanted.some(({ group }) => group === 'compression') ? chooseCompressing(values) : [];
  const serversOf = ({ group }: Scenario): readonly Server[] =>
    group === 'redis' || group === 'workers'
      ? overRedis.filter(({ name }) => name.startsWith('workers') === (group === 'workers'))
      : group === 'compression'
        ? compressing
        : servers;
  const chosen = wanted.filter((scenario) => serversOf(scenario).length > 0);
  const profileDir = join(buildDir, 'profile');

  const machine = describeMachine();
  const legend = new Map([...servers, ...overRedis, ...compressing].map(({ name, what }) => [name, what]));
  process.stdout.write(`${machine.text}\n${[...legend].map(([name, what]) => `  ${name}: ${what}\n`).join('')}`);
  if (values.quick) process.stdout.write('  Quick: fewer and shorter than the titles say; the figures are rough.\n');
  process.stdout.write('  In parentheses: the figure as a multiple of the naive server’s, in this same run;\n');
  process.stdout.write('  where the cluster, workers or compression are measured, of the first one’s.\n\n');
  const reports: Report[] = [];
  for (const scenario of chosen) {
    const results: Result[] = [];
    for (const server of serversOf(scenario)) {
      if (values.profile) forgetProfiles(profileDir);
      const stage = new Stage({
        children,
        loadProgram,
        buildDir,
        server,
        isQuick: values.quick,
        nodeFlags: values.profile ? profileFlags(profileDir) : [],
        stopSignal: values.profile ? 'SIGTERM' : 'SIGKILL',
      });
      results.push({ server: server.name, outcome: await perform(scenario, stage) });
    }
    const baseline = scenario.group === undefined ? 'naive ws' : (serversOf(scenario)[0]?.name ?? '');
    const report = { scenario, results, baseline };
    process.stdout.write(`${scenarioTable(report)}\n`);
    if (values.profile) process.stdout.write(`${topFunctions(profileDir, 30)}\n`);
    reports.push(report);
  }
  const file = join(buildDir, `${values.profile ? 'profile' : 'results'}.json`);
  const { text: _, ...conditions } = machine;
  const raw = reports.map(({ scenario, results }) => ({ scenario: scenario.name, results }));
  writeFileSync(file, `${JSON.stringify({ conditions, isQuick: values.quick, scenarios: raw }, null, 2)}\n`);
  process.stdout.write(`Raw numbers: ${file}\n`);
  if (values.profile) return;
  writeFileSync(
    values.picture,
    cpuPicture(reports, `${values.quick ? 'A quick run, the figures are rough. ' : ''}${machine.text}`),
  );
  process.stdout.write(`CPU as a picture: ${values.picture}\n`);
}

function isNamed({ name, group }: Scenario, asked: string): boolean {
  return name === asked || group === asked;
}

/** The single process, the cluster, and workers; none, and said why, where there is no Redis to be had. */
function chooseOverRedis({ profile, only }: { readonly profile: boolean; readonly only: readonly string[] }): Server[] {
  if (profile) {
    process.stdout.write('The scenarios over Redis are left out: --profile looks into one process.\n');
    return [];
  }
  const { REDIS_URL: url } = process.env;
  const known = new Servers(children, buildDir);
  try {
    const redis = url === undefined || url === '' ? { program: findRedis() } : { url };
    const all = [known.starling(), known.cluster(redis), known.workers(1, redis), known.workers(2, redis)];
    return all.filter(({ name }) => isAmong(only, name));
  } catch (err) {
    process.stdout.write(`The scenarios over Redis are LEFT OUT: ${err instanceof Error ? err.message : err}\n`);
    return [];
  }
}

/** Without compression, with it, and the usual way with it. */
function chooseCompressing({
  profile,
  only,
}: {
  readonly profile: boolean;
  readonly only: readonly string[];
}): Server[] {
  const known = new Servers(children, buildDir);
  const on = known.starling('starling, on', { STARLING_COMPRESSION: 'on' });
  if (profile) return [on];
  const off = known.starling('starling, off', { STARLING_COMPRESSION: 'off' });
  return [off, on, known.deflatingNaiveWs()].filter(({ name }) => isAmong(only, name));
}

const findRedis = (): string =>
  findProgram({ env: 'REDIS_SERVER_PATH', names: ['redis-server', 'valkey-server'], aptPackage: 'redis-server' });

const isAmong = (only: readonly string[], name: string): boolean =>
  only.length === 0 || only.some((start) => name.startsWith(start));

/** A scenario that fails is a line of the report: the others still say something. */
async function perform(scenario: Scenario, stage: Stage): Promise<Outcome | { failure: string }> {
  try {
    await scenario.run(stage);
    return stage.outcome;
  } catch (err) {
    return { failure: err instanceof Error ? err.message : String(err) };
  } finally {
    await stage.strike();
  }
}

function chooseServers(values: {
  readonly profile: boolean;
  readonly quick: boolean;
  readonly only: readonly string[];
  readonly 'peer-url'?: string | undefined;
  readonly 'peer-pid'?: string | undefined;
  readonly 'peer-app': string;
  readonly 'peer-key': string;
  readonly 'peer-secret': string;
}): readonly Server[] {
  const known = new Servers(children, buildDir);
  if (values.profile) return [known.starling()];
  const { only, quick } = values;
  const all: Server[] = [known.starling(), known.naiveWs()];
  if (!quick || only.length > 0) {
    all.push(known.socketIo());
    const nchan = known.nchan();
    if (nchan !== undefined) all.push(nchan);
  }
  const { 'peer-url': url, 'peer-pid': pid } = values;
  if (url !== undefined || pid !== undefined) {
    if (url === undefined || pid === undefined || !existsSync(`/proc/${pid}`)) {
      throw new Error('--peer-url and --peer-pid belong together, and the process must be running');
    }
    const credentials = { id: values['peer-app'], key: values['peer-key'], secret: values['peer-secret'] };
    all.push(known.peer(new URL(url), Number(pid), credentials));
  }
  return all.filter(({ name }) => isAmong(only, name));
}

function describeMachine() {
  const commit = spawnSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' }).stdout.trim();
  const conditions = {
    at: new Date().toISOString(),
    commit,
    node: process.version,
    kernel: release(),
    cpu: cpuModel(),
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    openFiles: openFilesLimit(),
    loadAverage: loadavg()[0] ?? 0,
  };
  const text =
    `Starling ${commit}, Node ${conditions.node}, Linux ${conditions.kernel}, ${conditions.cores} cores of ` +
    `${conditions.cpu}, ${conditions.memoryGiB} GiB, ulimit -n ${conditions.openFiles}, ` +
    `load average at the start ${conditions.loadAverage.toFixed(1)}; everything over 127.0.0.1`;
  return { ...conditions, text };
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    children.killAll();
    process.exit(130);
  });
}

try {
  await main();
} catch (err) {
  process.stderr.write(`${err instanceof Error ? err.message : String(err)}\n`);
  process.exitCode = 1;
} finally {
  children.killAll();
}
