/** What is said of a server that listens, or cannot. */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { StartError } from './lifecycle.ts';

/** As `http://127.0.0.1:6001`. */
export function addressOf(server: Server, host: string, scheme: 'http' | 'https'): string {
  const { port } = server.address() as AddressInfo;
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
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
