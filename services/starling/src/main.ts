/**
 * What runs first: it opens the port, and only then loads the program, which is most of a start. Clients that were told to
 * come back in a second find the port open, and wait there until they are served.
 */
import { listenAddress, type OwnPort, openPort, readSeat, surviveLostOutput } from '@starling/runtime/early';
import { type Arguments, readArguments } from './arguments.ts';

// Before the first word: whoever reads it may be gone already, as behind `| head`.
surviveLostOutput();
const read = readArguments(process.argv.slice(2));
const opening = read.ok ? openingFor(read.value) : undefined;
const { runCommand } = await import('./commands.ts');
await runCommand(read, opening);

/** Undefined for a command that serves nothing, for a worker, which has no port of its own, and without a valid address. */
function openingFor({ name = '', help, version, operands }: Arguments): Promise<OwnPort> | undefined {
  const isServing = ['start', 'edge', 'api', 'control'].includes(name) && !help && !version && operands.length === 0;
  const address = listenAddress(process.env);
  if (!isServing || address === undefined || readSeat() !== undefined) return undefined;
  const opening = openPort({ ...address, env: process.env });
  // Whoever waits for it says so, once that is loaded.
  opening.catch(() => {});
  return opening;
}
