/** The principal of a request, and its role in an organisation. */

/** Each may do what those after it may. */
export const roles = ['owner', 'admin', 'developer', 'viewer'] as const;

export type Role = (typeof roles)[number];

/** A user with a session, or a program with an access token of a user. */
export interface Principal {
  readonly kind: 'user' | 'token';
  readonly userId: string;
  /** The session of a user; undefined for a token. */
  readonly sessionId: string | undefined;
  /** The access token; undefined for a session. */
  readonly tokenId?: string | undefined;
  /** Undefined where they are no member, or the token is for another organisation: to them it does not exist. */
  roleIn(organisationId: string): Role | undefined;
}

/** Whether the role is at least the one needed. */
export function reaches(role: Role, needed: Role): boolean {
  return roles.indexOf(role) <= roles.indexOf(needed);
}
