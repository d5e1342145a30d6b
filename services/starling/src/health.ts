/** Asks a running Starling whether it is alive: for a container's health check, whatever port and certificate are set. */
import { once } from 'node:events';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { HealthSettings } from './config.ts';

const limitMs = 3_000;

/** Resolves with what is wrong, or undefined when nothing is. */
export async function askHealth(settings: HealthSettings): Promise<string | undefined> {
  const hasTls = settings.STARLING_TLS_CERT !== undefined;
  const request = (hasTls ? requestHttps : requestHttp)({
    host:
      ({ '0.0.0.0': '127.0.0.1', '::': '::1' } as Record<string, string>)[settings.STARLING_HOST] ??
      settings.STARLING_HOST,
    port: settings.STARLING_PORT,
    path: '/healthz',
    agent: false,
    // The certificate is for the name that others use, and this never leaves the machine.
    rejectUnauthorized: false,
    signal: AbortSignal.timeout(limitMs),
  });
  try {
    const [response] = await once(request.end(), 'response');
    response.destroy();
    return response.statusCode === 200 ? undefined : `Answered ${response.statusCode}`;
  } catch (err) {
    return err instanceof Error ? err.message : String(err);
  }
}
