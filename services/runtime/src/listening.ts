/** Listening, and what is said of a server that does, or cannot. */
import type { AddressInfo, ListenOptions, Server } from 'node:net';
import { StartError } from './start-error.ts';

/** Resolves when it listens. */
export function listen(server: Server, options: ListenOptions & { readonly fd?: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** As `127.0.0.1:6001`. */
export function authorityOf(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo;
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** The error of listening, in words that name the setting to change. */
export function explained(err: unknown, host: string, port: number, portName: string, hostName: string): unknown {
  const code = err instanceof Error && 'code' in err ? err.code : undefined;
  const at = `port ${port} of ${host}`;
  if (code === 'EADDRINUSE') return new StartError(`${at} is in use: end the other program, or set ${portName}`);
  if (code === 'EACCES') return new StartError(`${at} is not ours to take: set ${portName} to one above 1023`);
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    return new StartError(`${host} is no address of this machine: set ${hostName}`);
  }
  return err;
}
