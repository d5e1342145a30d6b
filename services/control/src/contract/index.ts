/** What the admin API takes and gives: for its server, its dashboard and its page. Imports nothing of a server. */
import { appOperations } from './apps.ts';
import { installationOperations } from './installation.ts';
import { keyOperations } from './keys.ts';
import { liveOperations } from './live.ts';
import { memberOperations } from './members.ts';
import { organisationOperations } from './organisations.ts';
import { peopleOperations } from './people.ts';
import { recordOperations } from './records.ts';
import { tokenOperations } from './tokens.ts';
import { webhookOperations } from './webhooks.ts';

export { app, appLimits, appSettings, rollout } from './apps.ts';
export { installationLimits, operator } from './installation.ts';
export { appKey, newAppKey } from './keys.ts';
export { channel, channelMember, figures, node, streams } from './live.ts';
export {
  type ErrorReply,
  errorReply,
  type Method,
  type Needs,
  type Operation,
  type ParamName,
  paramNames,
  pathParams,
} from './operation.ts';
export { organisation, role } from './organisations.ts';
export { auditEntry, usage } from './records.ts';
export { revocation, tokenSettings } from './tokens.ts';
export { webhookEndpoint, webhookEvents } from './webhooks.ts';

/** Below this path every operation is found. */
export const basePath = '/api/v1';

/** Every operation of the admin API, by its id. */
export const operations = {
  ...organisationOperations,
  ...memberOperations,
  ...peopleOperations,
  ...appOperations,
  ...keyOperations,
  ...tokenOperations,
  ...webhookOperations,
  ...recordOperations,
  ...liveOperations,
  ...installationOperations,
} as const;

export type Operations = typeof operations;
export type OperationId = keyof Operations;
