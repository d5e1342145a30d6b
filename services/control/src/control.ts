/** The admin API's table of contents. */
import type { FastifyPluginAsync } from 'fastify';
import { basePath } from './contract/index.ts';
import { serveDocs } from './docs.ts';
import type { Implementation } from './frame/implement.ts';
import { type FrameDeps, mount, secureHeaders } from './frame/mount.ts';

export interface ControlDeps extends FrameDeps {
  /** Of Starling. */
  readonly version: string;
}

/** Below `/api/v1`, for a server that others make. */
export function control(deps: ControlDeps): FastifyPluginAsync {
  const implementations: readonly Implementation[] = [];
  return async (server) => {
    await server.register(
      async (api) => {
        secureHeaders(api);
        await api.register(async (routes) => mount(routes, deps, implementations));
        await api.register(async (docs) => serveDocs(docs, deps.version));
      },
      { prefix: basePath },
    );
  };
}
