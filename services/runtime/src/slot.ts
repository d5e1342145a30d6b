/** How a process is told that it is a worker: by variables in its environment, and by the channel that comes with them. */

const [seatName, authorityName, startedByName] = [
  'STARLING_WORKER',
  'STARLING_WORKER_AUTHORITY',
  'STARLING_WORKER_STARTED_BY',
] as const;

export interface Slot {
  /** From 1. */
  readonly number: number;
  /** By which the port is reached that it shares. */
  readonly authority: string;
  /** Which process started it: the same for all its workers, and for no others. */
  readonly startedBy: string;
}

/** Undefined in a process that was started by hand. */
export function readSeat(): Slot | undefined {
  const { [seatName]: number, [authorityName]: authority, [startedByName]: startedBy } = process.env;
  // The variables alone could have been inherited by anything that a worker starts.
  if (number === undefined || authority === undefined || startedBy === undefined || process.send === undefined)
    return undefined;
  return { number: Number(number), authority, startedBy };
}

export function environmentOf({ number, authority, startedBy }: Slot): Readonly<Record<string, string>> {
  return { [seatName]: String(number), [authorityName]: authority, [startedByName]: startedBy };
}
