/** Bounds on guessing, and how failed sign-ins come into the audit log. */
export { recordFailedSignIn } from './failed-sign-in.ts';
export {
  accountAllowance,
  admitAddress,
  forgetTries,
  giveTryBack,
  placeAllowance,
  pruneTries,
  type ThrottleDeps,
  takeAllowance,
  takeTry,
} from './throttle.ts';
