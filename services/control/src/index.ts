/** The admin API and the people who use it. */
export type { Principal, Role } from './people/principal.ts';
