export { PostgresAppStore, type PostgresAppStoreDeps } from './app-store.ts';
