/** Ports whose work another process of this machine does. */
export { LineAppStore, serveApps } from './app-store.ts';
