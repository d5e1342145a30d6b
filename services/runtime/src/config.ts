/** Settings: read from the environment once, all problems said together. Nothing else reads the environment. */
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { defaultHost, defaultPort, givenSettings } from './environment.ts';

export type ReadConfig<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly text: string };

/** Every problem of every variable in one text, with what the variable is for. */
export function readConfig<T extends z.ZodObject>(
  schema: T,
  env: Readonly<Record<string, string | undefined>>,
): ReadConfig<z.output<T>> {
  const read = schema.safeParse(givenSettings(env));
  if (read.success) return { ok: true, value: read.data };
  const lines = read.error.issues.map(({ path, message }) => {
    const name = String(path[0] ?? '');
    const field: unknown = schema.shape[name];
    const purpose = field instanceof z.ZodType ? field.description : undefined;
    return `  ${name}: ${message}${purpose === undefined ? '' : `\n    ${purpose}`}`;
  });
  return { ok: false, text: `Starling cannot start with these settings:\n${lines.join('\n')}\n` };
}

/**
 * The settings of this process, from the environment and, winning over it, from the command line; on any problem prints
 * all of them and ends the process with 1.
 */
export function loadConfig<T extends z.ZodObject>(
  schema: T,
  commandLine: Readonly<Record<string, string>> = {},
): z.output<T> {
  const read = readConfig(schema, { ...process.env, ...commandLine });
  if (read.ok) return read.value;
  process.stderr.write(read.text);
  process.exit(1);
}

/**
 * Names in this process's environment that look like settings of Starling and are none of the known ones: most likely
 * misspelt, and without a word their value would count for nothing.
 */
export function unknownSettings(known: readonly string[]): string[] {
  return Object.keys(givenSettings(process.env)).filter((name) => /^STARLING_/.test(name) && !known.includes(name));
}

// ── Kinds of fields ──────────────────────────────────────────────────────────────────────────────────────────────

/** `true`, `yes`, `on`, `1` and their opposites. Not z.coerce.boolean(), to which "false" is true. */
export const flag = () =>
  // Not z.stringbool() itself: where it fails, rules over several settings are passed over.
  z.string().transform((text, context) => {
    const read = z.stringbool().safeParse(text);
    if (!read.success) context.addIssue('must be true or false');
    return read.data === true;
  });

/** A whole number in a range, written in digits. */
const whole = (least: number, most: number, what: string) =>
  z
    .string()
    .regex(/^\d{1,9}$/, `must be ${what}, ${least} to ${most}`)
    .transform(Number)
    .refine((value) => value >= least && value <= most, `must be ${what}, ${least} to ${most}`);

/** 0 asks the system for a free one. */
export const port = () => whole(0, 65_535, 'a port number');
export const milliseconds = (least: number, most: number) => whole(least, most, 'whole milliseconds');
export const seconds = (least: number, most: number) => whole(least, most, 'whole seconds');

/** How many processes share the work: a number, or `auto` for as many as there are cores. */
export const workers = () =>
  z.string().transform((text, context) => {
    if (text === 'auto') return availableParallelism();
    const read = whole(1, 256, 'a number of processes').safeParse(text);
    if (!read.success) context.addIssue('must be auto or a number of processes, 1 to 256');
    return read.data ?? 1;
  });

const trustProxy = () =>
  z.string().transform((text, context): boolean | number | string[] => {
    if (/^\d{1,2}$/.test(text)) return Number(text);
    const asFlag = flag().safeParse(text);
    if (asFlag.success) return asFlag.data;
    const addresses = text.split(',').map((part) => part.trim());
    if (!addresses.every((address) => /^[0-9a-fA-F:.]+(\/\d{1,3})?$/.test(address))) {
      context.addIssue('must be true, false, a number of proxies, or addresses like 10.0.0.0/8,::1');
    }
    return addresses;
  });

/** What every program that listens can be told. */
export const serverSettings = {
  STARLING_HOST: z.string().default(defaultHost).describe('The address to listen on; 0.0.0.0 for all of them.'),
  STARLING_PORT: port().default(defaultPort).describe('The port to listen on. PORT is honoured when this is not set.'),
  STARLING_LOG_LEVEL: z
    .enum(['debug', 'info', 'warn', 'error'], 'must be debug, info, warn or error')
    .default('info')
    .describe('How much is logged.'),
  STARLING_TRUST_PROXY: trustProxy()
    .default(false)
    .describe(
      'Whose X-Forwarded-For and X-Forwarded-Proto are believed: the number of proxies in front, or their addresses. ' +
        'Never true where clients can reach it: they could then say any address.',
    ),
  STARLING_PATH_PREFIX: z
    .string()
    .transform((text) => text.replace(/\/+$/, ''))
    .refine((text) => /^(\/[A-Za-z0-9._~-]+)*$/.test(text), 'must look like /realtime')
    .default('')
    .describe('A path below which a proxy serves Starling. Requests with and without it are answered.'),
  STARLING_DRAIN_SECONDS: seconds(0, 3_600)
    .default(15)
    .describe('On shutdown, the time over which connections are told to reconnect elsewhere.'),
  STARLING_MAX_HEADER_BYTES: whole(1_024, 1_048_576, 'bytes')
    .default(16_384)
    .describe("How large a request's line and headers may be together; a larger one gets 431."),
  STARLING_MAX_SOCKETS: whole(16, 10_000_000, 'a number of connections')
    .optional()
    .describe('How many connections one process holds; by default as many as its open files allow, but for a reserve.'),
  STARLING_METRICS_PORT: port()
    .optional()
    .describe('A port for /metrics alone. Without it and STARLING_METRICS_TOKEN there is no /metrics.'),
  STARLING_METRICS_HOST: z
    .string()
    .default('127.0.0.1')
    .describe('The address to listen on with STARLING_METRICS_PORT.'),
  STARLING_METRICS_TOKEN: z
    .string()
    .regex(/^[\w.~+/=-]{16,256}$/, 'must be 16 to 256 of A-Z a-z 0-9 _ - . ~ + / =')
    .optional()
    .describe(
      'What /metrics wants as Authorization: Bearer. Without a port of its own it is then served beside the rest.',
    ),
  STARLING_TLS_CERT: z.string().optional().describe('A file: the certificate chain in PEM, to serve https and wss.'),
  STARLING_TLS_KEY: z.string().optional().describe("A file: the certificate's private key in PEM."),
} as const;

/** A rule over several settings, said of one of them. `given` may hold values that broke their own field's rule. */
export interface SettingsRule {
  readonly name: string;
  readonly problem: string;
  readonly holds: (given: Readonly<Record<string, unknown>>) => boolean;
}

/** A TLS certificate is useless without its key, and serving plainly where TLS was asked for is unsafe. */
export const tlsIsWhole: SettingsRule = {
  name: 'STARLING_TLS_CERT',
  problem: 'STARLING_TLS_CERT and STARLING_TLS_KEY must be given together',
  holds: (given) => (given['STARLING_TLS_CERT'] === undefined) === (given['STARLING_TLS_KEY'] === undefined),
};

/** A program's schema. The rules are checked even where a field is wrong, so that all problems are said at once. */
export function settings<T extends z.ZodRawShape>(shape: T, rules: readonly SettingsRule[]): z.ZodObject<T> {
  return rules.reduce<z.ZodObject<T>>(
    (schema, { name, problem, holds }) => schema.refine(holds, { path: [name], message: problem, when: () => true }),
    z.object(shape),
  );
}
