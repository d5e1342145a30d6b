/** What the OpenAPI document says of answers, held against every answer that a test gets. */
import type { FastifyInstance } from 'fastify';
import { basePath } from './contract/index.ts';
import { openApi } from './contract/open-api.ts';

/** What every address may answer: the body is too large, or of a kind that is not taken, or there is a defect of ours. */
const everywhere = ['413', '415', '500'];

/** `told`: of each answer whose status its operation does not declare. */
export function watchStatuses(server: FastifyInstance, told: (problem: string) => void): void {
  const { paths } = openApi('1', '.') as { paths: Record<string, Record<string, { responses: object }>> };
  server.addHook('onResponse', async ({ method, routeOptions: { url = '' } }, { statusCode }) => {
    const path = url.slice(basePath.length).replaceAll(/:(\w+)/g, '{$1}');
    const declared = paths[path]?.[method.toLowerCase()]?.responses;
    if (declared === undefined || Object.hasOwn(declared, statusCode) || everywhere.includes(`${statusCode}`)) return;
    told(`${method} ${path} answered ${statusCode}, which the contract does not declare`);
  });
}
