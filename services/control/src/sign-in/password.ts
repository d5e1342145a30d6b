/** Passwords: which will do, and their slow hashes. */
import { hash, verify } from '@node-rs/argon2';
import { type Checked, refuse } from '@starling/protocol';
import { type Lane, Turns } from './turns.ts';

/** OWASP's least for argon2id, which is what the library makes unless told otherwise: about 30 ms and 19 MiB a try. */
const cost = { memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;

const [charactersMin, charactersMax] = [10, 200];

/** Length is what helps; the rest keeps out what everybody tries first. */
export function checkPassword(password: string, email: string): Checked<string> {
  const characters = [...password];
  if (characters.length < charactersMin || characters.length > charactersMax) {
    return refuse('password_weak', `A password has ${charactersMin} to ${charactersMax} characters: take a sentence`);
  }
  if (new Set(characters).size < 5) return refuse('password_weak', 'A password needs at least 5 different characters');
  const small = password.toLowerCase();
  const [name = email] = email.split('@');
  if (small === email || small.replaceAll(/[^\p{L}]/gu, '') === name || common.test(small)) {
    return refuse('password_weak', 'This password is among the first that anybody would try');
  }
  return { ok: true, value: password };
}

const common =
  /^(?:password|passwort|qwerty|qwertz|letmein|welcome|iloveyou|starling|admin|1234567890|changeme)[\d\W_]*$/;

export class Passwords {
  readonly #decoy = hash('of nobody', cost);
  /** One after the other: a crowd at the door takes neither all threads nor all memory from those inside. */
  readonly #turns = new Turns();

  hash(password: string, lane: Lane): Promise<string> {
    return this.#turns.run(lane, () => hash(normal(password), cost));
  }

  /** Without a hash it takes as long, and is no: what there is cannot be told by the clock. */
  async matches(password: string, passwordHash: string | null | undefined, lane: Lane): Promise<boolean> {
    const against = passwordHash ?? (await this.#decoy);
    const isRight = await this.#turns.run(lane, () => verify(against, normal(password)));
    return isRight && passwordHash !== null && passwordHash !== undefined;
  }
}

/** Keyboards differ in how they send the same letter. */
function normal(password: string): string {
  return password.normalize('NFKC');
}
