/** The admin API and the people who use it. */
export { type ControlDeps, control } from './control.ts';
export { watchKeys } from './operations/expire-keys.ts';
export { type People, type PeopleOptions, people } from './people/people.ts';
export type { Principal, Role } from './people/principal.ts';
export { oidcOf, ownerOf, peopleRules, peopleSettings } from './people/settings.ts';
export { type NodeList, Rollout } from './rollout.ts';
