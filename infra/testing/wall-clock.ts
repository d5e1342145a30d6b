/** The wall clock of a program under test, which can be stepped while the program runs; its monotonic clock stays true. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from './find-program.ts';

export class WallClock {
  readonly #folder = mkdtempSync(join(tmpdir(), 'starling-clock-'));
  readonly #file = join(this.#folder, 'offset');
  readonly #library: string;
  #offsetSeconds = 0;

  private constructor(library: string) {
    this.#library = library;
    this.#write();
  }

  /** It shows the right time until the first step. */
  static open(): WallClock {
    const faketime = findProgram({ env: 'FAKETIME_PATH', names: ['faketime'], aptPackage: 'faketime' });
    // The program knows where its library is, which has another place on each system.
    const library = execFileSync(faketime, ['-m', '-f', '+0', 'printenv', 'LD_PRELOAD'], { encoding: 'utf8' }).trim();
    return new WallClock(library);
  }

  /** What a program is started with so that it reads this clock. Several programs may. */
  get env(): Record<string, string> {
    return {
      LD_PRELOAD: this.#library,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      // Without it a step would be noticed ten seconds later.
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
  }

  /** Milliseconds since 1970, as the program reads them. */
  get nowMs(): number {
    return Date.now() + this.#offsetSeconds * 1_000;
  }

  /** From where it is now. The program's next reading is of the new time. */
  step(seconds: number): void {
    this.#offsetSeconds += seconds;
    this.#write();
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #write(): void {
    const sign = this.#offsetSeconds < 0 ? '-' : '+';
    // In one move: a program must not read half of it.
    writeFileSync(`${this.#file}.next`, `${sign}${Math.abs(this.#offsetSeconds)}\n`);
    renameSync(`${this.#file}.next`, this.#file);
  }
}
