/** Readies what the integration tests need from the machine; whatever is missing is installed or named, never skipped. */
import type { TestProject } from 'vitest/node';
import { findProgram } from './find-program.ts';

declare module 'vitest' {
  interface ProvidedContext {
    chromiumPath: string;
  }
}

export default function setup({ provide }: TestProject): void {
  provide(
    'chromiumPath',
    findProgram({
      env: 'CHROMIUM_PATH',
      names: ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'],
      aptPackage: 'chromium',
    }),
  );
}
