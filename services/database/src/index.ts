export { type AppSettings, defaultAppSettings, parseAppSettings } from './app-settings.ts';
export {
  type AppKeyRow,
  type AppRow,
  addRevocation,
  appChanged,
  appSecretPurpose,
  defaultOrganisation,
  lockApps,
  pruneApps,
  type ReadApp,
  readApps,
  webhookSecretPurpose,
} from './apps.ts';
export { type BackupSummary, backUp, restore } from './backup.ts';
export { type Database, isDangling, isDuplicate, type Sql } from './database.ts';
export {
  defaultInstallationLimits,
  type InstallationLimits,
  type InstallationLimitsRow,
  readInstallationLimits,
  withinInstallation,
} from './installation-limits.ts';
export { Keyring } from './keyring.ts';
export {
  type ClosedDatabase,
  createDatabase,
  type DatabaseAddress,
  isKept,
  isShared,
  type OpenDatabaseOptions,
  openDatabase,
  sharedSocket,
} from './open-database.ts';
export { adoptKeyring, keptKeyring, keptKeyText, totpSecretPurpose } from './secret-key.ts';
export { startProblem } from './start-problem.ts';
