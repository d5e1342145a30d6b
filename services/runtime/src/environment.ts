/** What of the environment is read as settings; apart from their rules, which take time to load. */

export const defaultHost = '127.0.0.1';
export const defaultPort = 6001;

type Environment = Readonly<Record<string, string | undefined>>;

/** The values that were given, by name. */
export function givenSettings(env: Environment): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    // Compose files and shells pass a variable on as empty when it is not set.
    if (value !== undefined && value.trim() !== '') values[name] = value.trim();
  }
  // Kubernetes sets NAME_PORT=tcp://… in every pod beside a Service called NAME: not meant for us.
  if (values['STARLING_PORT']?.startsWith('tcp://')) delete values['STARLING_PORT'];
  // What hosting platforms set.
  if (values['STARLING_PORT'] === undefined && values['PORT'] !== undefined) values['STARLING_PORT'] = values['PORT'];
  return values;
}

/** Where to listen. Undefined where that is no port: its rule says so. */
export function listenAddress(env: Environment): { readonly host: string; readonly port: number } | undefined {
  const { STARLING_HOST: host = defaultHost, STARLING_PORT: text = String(defaultPort) } = givenSettings(env);
  const port = Number(text);
  return /^\d{1,5}$/.test(text) && port <= 65_535 ? { host, port } : undefined;
}
