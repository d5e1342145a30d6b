/** How requests are authenticated: the sessions of browsers, with their cookies, and access tokens of programs. */
export { type AccessTokenItem, deleteAccessToken, issueAccessToken, readAccessTokens } from './access-token.ts';
export { type Authenticate, authentication, renewPrincipal } from './authenticate.ts';
export { clearCookie, readCookie, setCookie, signInAs, takeCookies, visitorOf } from './browser.ts';
export {
  closeSession,
  closeSessions,
  isFresh,
  pruneSessions,
  readSessions,
  type SessionDeps,
  type Visitor,
} from './session.ts';
export { Tickets } from './ticket.ts';
