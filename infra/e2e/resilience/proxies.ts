/** nginx and HAProxy as an operator runs them: with the project's own settings, of which only names and ports are changed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../../testing/find-program.ts';
import { freePort } from '../../testing/redis-server.ts';
import { eventually } from '../cluster/cluster.ts';

const settingsFolder = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'deploy/cluster');
/** Where Linux can be asked for it: a test run that is killed takes its proxies along. */
const setpriv = '/usr/bin/setpriv';
const dyingWithUs = existsSync(setpriv) ? [setpriv, '--pdeathsig', 'KILL'] : [];

/** By the name that the settings know it by, such as `edge-1`: the port it has here. */
export type Servers = { readonly [name: string]: number };

export type ProxyName = 'nginx' | 'haproxy';

export interface ProxyOptions {
  /** What to try in the place of the project's settings. */
  readonly change?: (settings: string) => string;
}

export class ReverseProxy {
  readonly name: ProxyName;
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #killOnExit: () => void;
  #said = '';

  private constructor(name: ProxyName, port: number, child: ChildProcess, folder: string) {
    this.name = name;
    this.url = `http://127.0.0.1:${port}`;
    this.#child = child;
    this.#folder = folder;
    this.#killOnExit = () => child.kill('SIGKILL');
    process.once('exit', this.#killOnExit);
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#said += text;
      });
    }
  }

  /** Resolves when it takes connections. */
  static async start(
    name: ProxyName,
    servers: Servers,
    { change = (text) => text }: ProxyOptions = {},
  ): Promise<ReverseProxy> {
    const port = await freePort();
    const folder = mkdtempSync(join(tmpdir(), `starling-${name}-`));
    const file = join(folder, `${name}.conf`);
    const own = name === 'nginx' ? 'nginx.conf' : 'haproxy.cfg';
    const settings = placed(change(readFileSync(join(settingsFolder, own), 'utf8')), servers, port);
    writeFileSync(file, name === 'nginx' ? wholeNginx(settings, folder) : settings);
    const program = findProgram({
      env: name === 'nginx' ? 'NGINX_PATH' : 'HAPROXY_PATH',
      names: [name],
      aptPackage: name,
      // Where Debian puts what serves, which PATH often leaves out.
      beside: () => ['/usr/sbin', '/usr/local/sbin'],
    });
    const args = name === 'nginx' ? ['-p', folder, '-e', 'stderr', '-c', file] : ['-db', '-f', file];
    const [command = program, ...rest] = [...dyingWithUs, program, ...args];
    const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
    const proxy = new ReverseProxy(name, port, child, folder);
    try {
      await eventually(`${name} takes connections`, 10_000, () => proxy.#takesConnections(port));
    } catch (err) {
      await proxy.close();
      throw err;
    }
    return proxy;
  }

  /** What it complained of. */
  get said(): string {
    return this.#said;
  }

  async close(): Promise<void> {
    process.off('exit', this.#killOnExit);
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, 'exit');
      // Not killed: nginx's first process would leave its workers behind.
      this.#child.kill('SIGTERM');
      await exited;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #takesConnections(port: number): Promise<true | string> {
    if (this.#child.exitCode !== null) throw new Error(`It ended:\n${this.#said}`);
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return true;
    } finally {
      socket.destroy();
    }
  }
}

function placed(settings: string, servers: Servers, port: number): string {
  const own = settings
    .replace(/\blisten 6001;/, `listen 127.0.0.1:${port};`)
    .replace(/\bbind :6001\b/, `bind 127.0.0.1:${port}`);
  if (own === settings) throw new Error('The settings of the proxy do not listen on port 6001');
  const all = Object.entries(servers).reduce(
    (text, [name, at]) => text.replaceAll(`${name}:6001`, `127.0.0.1:${at}`),
    own,
  );
  const [left] = /\b[\w-]+:6001\b/.exec(all) ?? [];
  if (left !== undefined) throw new Error(`The settings of the proxy name ${left}, which is not here`);
  return all;
}

/** What the image's own nginx.conf is around ours. */
function wholeNginx(settings: string, folder: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (use) => `  ${use}_temp_path ${folder}/${use};`,
  );
  return [
    // One that may write into our folder.
    ...(process.getuid?.() === 0 ? ['user root;'] : []),
    'daemon off;',
    'worker_processes 2;',
    `pid ${folder}/nginx.pid;`,
    'events { worker_connections 1024; }',
    'http {',
    '  access_log off;',
    '  keepalive_timeout 65;',
    ...temporary,
    settings,
    '}',
  ].join('\n');
}
