/** The admin API and the people who use it. */
export { type Control, type ControlDeps, control } from './control.ts';
export { createSetupToken } from './people/first-owner.ts';
export type { People, PeopleOptions } from './people/people.ts';
export type { Principal, Role } from './people/principal.ts';
export { oidcOf, ownerOf, peopleRules, peopleSettings } from './people/settings.ts';
export type { NodeList } from './rollout.ts';
