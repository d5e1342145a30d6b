/** The second factor: an authenticator app, and recovery codes. */
export {
  checkCode,
  confirmTotp,
  offerTotp,
  removeTotp,
  replaceRecoveryCodes,
  type SecondFactorDeps,
} from './second-factor.ts';
