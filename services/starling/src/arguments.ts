/** The words of the command line. */
import { parseArgs } from 'node:util';

export interface Arguments {
  readonly help: boolean;
  readonly version: boolean;
  readonly workers: string | undefined;
  readonly name: string | undefined;
  readonly operands: readonly string[];
}

export type ReadArguments =
  | { readonly ok: true; readonly value: Arguments }
  | { readonly ok: false; readonly problem: string };

export function readArguments(args: string[]): ReadArguments {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean', short: 'v' },
        workers: { type: 'string' },
      },
    });
    const { help = false, version = false, workers } = values;
    const [name, ...operands] = positionals;
    return { ok: true, value: { help, version, workers, name, operands } };
  } catch (err) {
    return { ok: false, problem: err instanceof Error ? err.message : String(err) };
  }
}
