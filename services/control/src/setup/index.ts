/** The first owner, and the page of the first run. */
export { createSetupToken, ensureFirstOwner, type FirstOwner, type SetupTokenOptions } from './first-owner.ts';
export { setupPage } from './setup-page.ts';
