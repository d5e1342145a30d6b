/** What the records of clients and publishers amount to. */
import type { Client, ClientRecord } from './clients.ts';
import type { Publish } from './publishers.ts';

export interface Absence {
  readonly fromMs: number;
  /** Undefined where it has not ended. */
  readonly toMs: number | undefined;
  /** Of the socket whose end began it. */
  readonly code: number | null;
  readonly wasClean: boolean;
  /** Of the sockets that were closed again, and of refusals, before it was back. */
  readonly failures: readonly string[];
}

export interface ClientFigures {
  readonly client: Client;
  readonly records: readonly ClientRecord[];
  readonly absences: readonly Absence[];
  readonly state: string;
  /** Sockets that were open and ended. In Node, each costs pusher-js below 8.2 one of its two lives. */
  readonly closeCount: number;
}

export async function figuresOf(clients: readonly Client[]): Promise<ClientFigures[]> {
  return Promise.all(
    clients.map(async (client) => {
      const records = [...(await client.records())];
      let isOpen = false;
      let closeCount = 0;
      let state = '';
      let away: { fromMs: number; code: number | null; wasClean: boolean; failures: string[] } | undefined;
      const absences: Absence[] = [];
      let wasUp = false;
      for (const each of records) {
        if (each.kind === 'opened') isOpen = true;
        if (each.kind === 'closed') {
          const { atMs, code, wasClean } = each;
          if (isOpen) closeCount++;
          if (wasUp) away = { fromMs: atMs, code, wasClean, failures: [] };
          else away?.failures.push(isOpen ? String(code) : 'refused');
          wasUp = false;
          isOpen = false;
        }
        if (each.kind === 'state') {
          state = each.state;
          if (state !== 'connected') continue;
          if (away !== undefined) absences.push({ ...away, toMs: each.atMs });
          away = undefined;
          wasUp = true;
        }
      }
      if (away !== undefined) absences.push({ ...away, toMs: undefined });
      return { client, records, absences, state, closeCount };
    }),
  );
}

/** The longest of all absences that ended; infinite where one did not. */
export function longestAwayMs(all: readonly ClientFigures[]): number {
  return Math.max(0, ...all.flatMap(({ absences }) => absences.map(lengthOf)));
}

function lengthOf({ fromMs, toMs }: Absence): number {
  return toMs === undefined ? Number.POSITIVE_INFINITY : toMs - fromMs;
}

/** Printed, one row for each kind of client. */
export function clientTable(all: readonly ClientFigures[]): string {
  const groups = new Map<string, ClientFigures[]>();
  for (const each of all) {
    const { group, place, major, transports } = each.client;
    const name = `${group} pusher-js ${major} in ${place}${transports === 'all' ? ', all transports' : ''}`.trim();
    groups.set(name, [...(groups.get(name) ?? []), each]);
  }
  const rows = [...groups].map(([name, members]) => {
    const absences = members.flatMap((each) => each.absences);
    const ended = absences
      .map(lengthOf)
      .filter(Number.isFinite)
      .sort((one, other) => one - other);
    return {
      client: name,
      'away (ms)': ended.join(' '),
      'not back': String(absences.filter(({ toMs }) => toMs === undefined).length),
      failed: String(members.filter(({ state }) => state === 'failed').length),
      'closed with': tally(absences.map(({ code, wasClean }) => `${code}${wasClean ? '' : ' unclean'}`)),
      'failures before it was back': tally(absences.flatMap(({ failures }) => failures)),
    };
  });
  return table(rows);
}

function tally(words: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].map(([word, count]) => `${count}×${word}`).join(', ');
}

export function table(rows: readonly { readonly [column: string]: string }[]): string {
  const [first] = rows;
  if (first === undefined) return '(none)';
  const columns = Object.keys(first);
  const widths = columns.map((column) => Math.max(column.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd();
  return [line(columns), ...rows.map((row) => line(columns.map((column) => row[column] ?? '')))].join('\n');
}

export interface DeliveryFaults {
  /** Answered with 200, and missing where a client was in the channel before and stayed after. */
  readonly lost: readonly string[];
  readonly doubled: readonly string[];
}

/** An event on its way when a client is told to go may pass it by: only who stayed this long must have it. */
const stayMs = 500;

export function deliveryFaults(
  all: readonly ClientFigures[],
  publishes: readonly Publish[],
  channel: string,
): DeliveryFaults {
  const lost: string[] = [];
  const doubled: string[] = [];
  for (const { client, records } of all) {
    const counts = new Map<string, number>();
    const stays: { fromMs: number; toMs: number }[] = [];
    for (const each of records) {
      if (each.kind === 'event') counts.set(each.id, (counts.get(each.id) ?? 0) + 1);
      if (each.kind === 'subscribed' && each.channel === channel) {
        stays.push({ fromMs: each.atMs, toMs: Number.POSITIVE_INFINITY });
      }
      const last = stays.at(-1);
      if (each.kind === 'closed' && last?.toMs === Number.POSITIVE_INFINITY) last.toMs = each.atMs;
    }
    for (const { id, sentAtMs, answeredAtMs, status } of publishes) {
      const count = counts.get(id) ?? 0;
      const name = `${id} by ${client.group} ${client.user}`;
      if (count > 1) doubled.push(`${name}: ${count} times`);
      if (status !== 200 || count > 0) continue;
      const isOwed = stays.some(({ fromMs, toMs }) => fromMs <= sentAtMs && toMs >= answeredAtMs + stayMs);
      if (isOwed) lost.push(name);
    }
  }
  return { lost, doubled };
}

/** Printed, one row for each kind of publisher. */
export function publishTable(publishes: readonly Publish[]): string {
  const groups = new Map<string, Publish[]>();
  for (const each of publishes) groups.set(each.publisher, [...(groups.get(each.publisher) ?? []), each]);
  return table(
    [...groups].map(([publisher, own]) => ({
      publisher,
      sent: String(own.length),
      answers: tally(own.map(({ status, fault }) => fault ?? String(status))),
      'slowest (ms)': String(Math.max(...own.map(({ sentAtMs, answeredAtMs }) => answeredAtMs - sentAtMs))),
    })),
  );
}
