/**
 * What runs first: it opens the port, and only then loads the program, which is most of a start. Clients that were told to
 * come back in a second find the port open, and wait there until they are served.
 */
import { type OwnPort, openPortEarly, surviveLostOutput } from '@starling/runtime/early';
import { type Arguments, readArguments } from './arguments.ts';

// Before the first word: whoever reads it may be gone already, as behind `| head`.
surviveLostOutput();
const read = readArguments(process.argv.slice(2));
const opening = read.ok ? openingFor(read.value) : undefined;
const { runCommand } = await import('./commands.ts');
await runCommand(read, opening);

/** Undefined for a command that serves nothing. */
function openingFor({ name = '', help, version, operands }: Arguments): Promise<OwnPort> | undefined {
  const isServing = ['start', 'edge', 'api', 'control'].includes(name) && !help && !version && operands.length === 0;
  return isServing ? openPortEarly() : undefined;
}
