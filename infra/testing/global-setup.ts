/** Readies what the integration tests need from the machine; whatever is missing is installed or named, never skipped. */
import type { TestProject } from 'vitest/node';
import { findProgram } from './find-program.ts';
import { PostgresServer } from './postgres-server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    chromiumPath: string;
    /** Of a server in which tests make databases of their own. */
    postgresUrl: string;
  }
}

export default async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  provide(
    'chromiumPath',
    findProgram({
      env: 'CHROMIUM_PATH',
      names: ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'],
      aptPackage: 'chromium',
    }),
  );
  const given = process.env['DATABASE_URL'];
  const server = given === undefined || given === '' ? await PostgresServer.start() : undefined;
  provide('postgresUrl', server?.url ?? given ?? '');
  return async () => server?.remove();
}
