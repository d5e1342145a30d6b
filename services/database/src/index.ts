export { type Database, isDangling, isDuplicate, type Sql } from './database.ts';
export { Keyring } from './keyring.ts';
export { type DatabaseAddress, type OpenDatabaseOptions, openDatabase } from './open-database.ts';
