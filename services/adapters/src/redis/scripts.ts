/** The Lua scripts: each is one decision that Redis makes atomically. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

export interface Script {
  readonly name: string;
  readonly text: string;
  readonly sha: string;
}

const shared = read('shared');

export const scripts = {
  once: load('once'),
  retain: load('retain'),
  join: load('join'),
  leave: load('leave'),
  members: load('members'),
  occupancies: load('occupancies'),
  channels: load('channels'),
  renew: load('renew'),
  claim: load('claim'),
  open: load('open'),
  take: load('take'),
} as const;

function load(name: string): Script {
  const text = shared + read(name);
  return { name, text, sha: createHash('sha1').update(text).digest('hex') };
}

/** From beside this file; the build of a program copies the folder beside the bundle. */
function read(name: string): string {
  return readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8');
}
