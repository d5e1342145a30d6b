/** What a program does before the rest of it is loaded. Nothing here imports a package from npm. */
import { listenAddress } from './environment.ts';
import { type OwnPort, openPort } from './port.ts';
import { readSeat } from './slot.ts';

export { surviveLostOutput } from './output.ts';
export type { OwnPort } from './port.ts';

/** Undefined for a worker, which has no port of its own, and without a valid address, of which its rule speaks later. */
export function openPortEarly(): Promise<OwnPort> | undefined {
  const address = listenAddress(process.env);
  if (address === undefined || readSeat() !== undefined) return undefined;
  const opening = openPort({ ...address, env: process.env });
  // Whoever waits for it says so, once that is loaded.
  opening.catch(() => {});
  return opening;
}
