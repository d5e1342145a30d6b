/** The admin API, its users, and how they sign in. */

export type { Principal, Role } from './contract/principal.ts';
export { type Control, type ControlDeps, control } from './control.ts';
export type { People, PeopleOptions } from './people.ts';
export type { NodeList } from './rollout.ts';
export { oidcOf, ownerOf, peopleRules, peopleSettings } from './settings.ts';
export { createSetupToken } from './setup/index.ts';
