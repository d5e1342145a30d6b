/** The built program, run as a process of its own, and what a backend and a client need to talk to it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';

/** Where Linux can be asked for it: a test run that is killed takes its programs along. */
const setpriv = '/usr/bin/setpriv';
const dyingWithUs = existsSync(setpriv) ? [setpriv, '--pdeathsig', 'KILL'] : [];

const room = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'services/starling');

export interface Program {
  /** The program itself, for who starts it in a way of its own. */
  readonly file: string;
  /** A fresh folder to run in. */
  makeFolder(): string;
  /** Without waiting for anything. */
  run(args: readonly string[], options?: RunOptions): Run;
  /** `starling start` on a free port, until it is ready. */
  start(options?: StartOptions): Promise<Starling>;
  /** Ends every process and removes every file. */
  close(): Promise<void>;
}

/** Every program started here shows its metrics to those who know it. */
export const metricsToken = 'metrics-token-of-tests';

/** The metrics of a program started here, as text. */
export async function readMetrics(url: string): Promise<string> {
  const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${metricsToken}` } });
  if (response.status !== 200) throw new Error(`${url}/metrics is ${response.status}: ${await response.text()}`);
  return response.text();
}

export interface StartOptions extends RunOptions {
  /** Behind `start`. */
  readonly args?: readonly string[];
}

export interface RunOptions {
  /** All there is of it. */
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  /** Below a shell, which is then the child, as npm does it. */
  readonly belowShell?: boolean;
}

export interface Run {
  readonly child: ChildProcess;
  stdout(): string;
  stderr(): string;
  /** Resolves when stdout has held the text. */
  said(text: string | RegExp): Promise<RegExpExecArray>;
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>;
}

export interface Starling extends Run {
  readonly url: string;
  readonly app: Credentials;
}

export interface Credentials {
  readonly id: string;
  readonly key: string;
  readonly secret: string;
}

/** Builds it first, from the source as it is now. */
export function openProgram(): Program {
  const build = `dist/test-${process.pid}-${Math.random().toString(36).slice(2)}/starling.js`;
  execFileSync(process.execPath, ['build.mjs', build], { cwd: room, stdio: 'pipe' });
  const folder = openToPass(mkdtempSync(join(tmpdir(), 'starling-')));
  const runs: Run[] = [];
  // A secret is printed once: by the start that makes it.
  const secrets = new Map<string, string>();

  // Each in a folder of its own: a data folder serves one process.
  const makeFolder = () => openToPass(mkdtempSync(join(folder, 'run-')));
  const run: Program['run'] = (args, { env = {}, cwd = makeFolder(), belowShell = false } = {}) => {
    const command = [process.execPath, join(room, build), ...args];
    // The second command keeps the shell from becoming the first.
    const below = belowShell ? ['/bin/sh', '-c', '"$@"; true', 'sh', ...command] : command;
    const [file = '', ...rest] = [...dyingWithUs, ...below];
    const child = spawn(file, rest, {
      cwd,
      env: { STARLING_METRICS_TOKEN: metricsToken, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output = { stdout: '', stderr: '' };
    const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output.stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output.stderr += text;
    });
    const said: Run['said'] = async (text) => {
      const pattern = typeof text === 'string' ? new RegExp(text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')) : text;
      for (;;) {
        const found = pattern.exec(output.stdout);
        if (found !== null) return found;
        const hasEnded = await Promise.race([once(child.stdout, 'data').then(() => false), ended.then(() => true)]);
        if (hasEnded)
          throw new Error(`It ended (${await ended}) without saying ${pattern}:\n${output.stdout}${output.stderr}`);
      }
    };
    const started = { child, stdout: () => output.stdout, stderr: () => output.stderr, said, ended };
    runs.push(started);
    return started;
  };

  return {
    file: join(room, build),
    makeFolder,
    run,
    start: async ({ args = [], env = {}, cwd = makeFolder(), ...options } = {}) => {
      const started = run(['start', ...args], { ...options, env: { STARLING_PORT: '0', ...env }, cwd });
      const [, url = '', id = '', key = '', shown] = await started.said(
        /ready at (\S+)\s+app id +(\S+)\s+key +(\S+)\s+secret +(?:not shown again.*\n|(\S+)[\s\S]*\n\)\n)/,
      );
      const secret = shown ?? env['STARLING_APP_SECRET'] ?? secrets.get(key) ?? '';
      secrets.set(key, secret);
      return { ...started, url, app: { id, key, secret } };
    },
    close: async () => {
      for (const { child } of runs) child.kill('SIGKILL');
      await Promise.all(runs.map(({ ended }) => ended));
      rmSync(folder, { recursive: true, force: true });
      rmSync(dirname(join(room, build)), { recursive: true, force: true });
    },
  };
}

/** As a checkout is: the user of the embedded Postgres can reach what is in it. */
function openToPass(folder: string): string {
  chmodSync(folder, 0o755);
  return folder;
}

/**
 * Path and query of a signed request. `more` of the query stands behind the rest: its names must sort behind `auth_`.
 * `nowMs`: the time of the signature, for a server whose wall clock is another than ours.
 */
export function signedPath(
  app: Credentials,
  method: string,
  path: string,
  body = '',
  more = '',
  nowMs = Date.now(),
): string {
  const digest = body === '' ? '' : `&body_md5=${createHash('md5').update(body).digest('hex')}`;
  const time = Math.floor(nowMs / 1000);
  const query = `auth_key=${app.key}&auth_timestamp=${time}&auth_version=1.0${digest}${more && `&${more}`}`;
  const signature = createHmac('sha256', app.secret).update(`${method}\n${path}\n${query}`).digest('hex');
  return `${path}?${query}&auth_signature=${signature}`;
}

export interface Peer {
  readonly socket: WebSocket;
  /** The first frame, from now or before, with this event name. */
  received(event: string): Promise<{ event: string; channel?: string; data: unknown }>;
  readonly closed: Promise<number>;
}

/** A client that speaks the protocol by hand, connected and told so. */
export async function connectPeer(url: string, key: string, token?: string): Promise<Peer> {
  const query = `protocol=7&client=hand&version=0${token === undefined ? '' : `&token=${token}`}`;
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/app/${key}?${query}`);
  const frames: Array<{ event: string; data: unknown }> = [];
  socket.on('message', (text) => frames.push(JSON.parse(String(text))));
  const closed = once(socket, 'close').then(([code]) => code as number);
  const received: Peer['received'] = async (event) => {
    for (;;) {
      const frame = frames.find((each) => each.event === event);
      if (frame !== undefined) return frame;
      const code = await Promise.race([once(socket, 'message').then(() => undefined), closed]);
      if (code !== undefined) throw new Error(`Closed with ${code} before ${event} came`);
    }
  };
  await received('pusher:connection_established');
  return { socket, received, closed };
}
