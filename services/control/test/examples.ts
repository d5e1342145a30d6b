/** A request to every operation of the contract that does what the operation says. */
import type { OperationId } from '../src/contract/index.ts';
import type { memberOperations } from '../src/contract/members.ts';
import type { Operation } from '../src/contract/operation.ts';
import type { peopleOperations } from '../src/contract/people.ts';
import { ourApp, ourEndpoint, ourKey, ours, people } from './started-control.ts';

export const ownIds: Record<string, string> = {
  organisationId: ours,
  appId: ourApp,
  key: ourKey,
  endpointId: ourEndpoint,
  userId: people.viewer,
  invitationId: 'inv_ours',
  sessionId: 'session',
  tokenId: 'tok_ours',
  channel: 'presence-room',
};
export function pathOf({ path }: Operation, ids: Readonly<Record<string, string>>): string {
  return path.replaceAll(/:(\w+)/g, (_, name: string) => ids[name] ?? 'missing');
}

export interface Example {
  readonly body?: object;
}

type OfPeople = keyof typeof memberOperations | keyof typeof peopleOperations;

/** What people do among themselves has stories of its own, beside its code; these only come past the checks. */
export const ofPeople: Partial<Record<OfPeople, Example>> = {
  changeMember: { body: { role: 'viewer' } },
  createInvitation: { body: { email: 'new@example.com', role: 'viewer' } },
};

/** A request to each that does what it says. */
export const examples: Record<Exclude<OperationId, OfPeople>, Example> = {
  listOrganisations: {},
  getOrganisation: {},
  createOrganisation: { body: { name: 'New' } },
  changeOrganisation: { body: { name: 'Renamed' } },
  // One that has no apps: those of ours are deleted before.
  deleteOrganisation: {},
  listApps: {},
  createApp: { body: { name: 'New', settings: { hasClientEvents: true }, limits: { connections: 7 } } },
  getApp: {},
  changeApp: { body: { isEnabled: false } },
  deleteApp: {},
  getRollout: {},
  listKeys: {},
  createKey: { body: { label: 'ci' } },
  rotateKey: { body: { overlapSeconds: 60 } },
  changeKey: { body: { isEnabled: false } },
  deleteKey: {},
  getTokenSettings: {},
  changeTokenSettings: { body: { jwksUrl: 'https://id.example.com/keys', issuer: 'id', audience: 'us' } },
  listRevocations: {},
  createRevocation: { body: { by: 'user', id: 'ada' } },
  listWebhookEndpoints: {},
  createWebhookEndpoint: { body: { url: 'https://example.com/new', events: ['member_added'] } },
  changeWebhookEndpoint: { body: { isEnabled: false } },
  deleteWebhookEndpoint: {},
  listAuditEntries: {},
  getUsage: {},
  getFigures: {},
  listChannels: {},
  listChannelMembers: {},
  listNodes: {},
  listInstallationAuditEntries: {},
  listOperators: {},
  giveOperator: {},
  takeOperator: {},
  getInstallationLimits: {},
  changeInstallationLimits: { body: { connections: 50_000, presenceMembers: null } },
};

export function exampleOf({ id }: Operation): Example {
  return { ...ofPeople, ...examples }[id as OperationId] ?? {};
}
