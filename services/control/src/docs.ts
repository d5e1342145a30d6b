/** The OpenAPI document of the admin API, and a page to read it on. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { openApi } from './contract/open-api.ts';

/** The page shows its own pictures as data, and writes styles into its elements. */
const pagePolicy = {
  'default-src': "'none'",
  'script-src': "'self'",
  'style-src': "'self' 'unsafe-inline'",
  'img-src': "'self' data:",
  'font-src': "'self' data:",
  'connect-src': "'self'",
  'base-uri': "'none'",
  'form-action': "'none'",
  'frame-ancestors': "'none'",
};

const json = 'application/json; charset=utf-8';

/** `/openapi.json`, and the page at `/docs`. */
export async function serveDocs(server: FastifyInstance, version: string): Promise<void> {
  // Written once: it is large, and strangers may ask for it.
  const document = Buffer.from(JSON.stringify(openApi(version, '.')));
  // The page's own copy lies a folder deeper. Their type of a document ends at OpenAPI 3.0; it is only passed through.
  const copy = openApi(version, '..');
  const copyText = Buffer.from(JSON.stringify(copy));
  await server.register(swagger, { mode: 'static', specification: { document: copy as never } });
  server.get('/openapi.json', { exposeHeadRoute: false }, async (_request, reply) => reply.type(json).send(document));
  await server.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: pagePolicy,
    // Without their bar, which asks for other documents.
    uiConfig: { layout: 'BaseLayout' },
    theme: { title: 'Starling admin API' },
    uiHooks: {
      // The page names its files relative to itself: only with the slash does it find them below any prefix.
      onRequest: async (request, reply) => {
        const [path = ''] = request.url.split('?');
        if (path.endsWith('/docs')) return reply.redirect('docs/');
        // The plugin's own would write it again for each request.
        if (path.endsWith('/docs/json')) return reply.type(json).send(copyText);
        if (path.endsWith('/docs/yaml')) return reply.callNotFound();
        return undefined;
      },
    },
  });
}
