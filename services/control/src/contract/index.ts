/** What the admin API takes and gives: for its server, its dashboard and its page. Imports nothing of a server. */
import { memberOperations } from './members.ts';
import { organisationOperations } from './organisations.ts';
import { peopleOperations } from './people.ts';

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

/** Below this path every operation is found. */
export const basePath = '/api/v1';

/** Every operation of the admin API, by its id. */
export const operations = {
  ...organisationOperations,
  ...memberOperations,
  ...peopleOperations,
} as const;

export type Operations = typeof operations;
export type OperationId = keyof Operations;
