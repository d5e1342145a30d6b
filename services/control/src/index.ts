/** The admin API and the people who use it. */
export { type ControlDeps, control } from './control.ts';
export type { Principal, Role } from './people/principal.ts';
