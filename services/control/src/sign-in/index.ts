/** Signing in by e-mail address and password. */
export { checkPassword, Passwords } from './password.ts';
export { checkCredentials, checkPasswordAgain, laneOf, type SignInDeps } from './sign-in.ts';
