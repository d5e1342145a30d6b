/** The admin API, and its first owner. */
import { type Control, control, oidcOf, ownerOf } from '@starling/control';
import { DebugWatch, type Hub } from '@starling/core';
import { StartError } from '@starling/runtime';
import type { AppDatabase, AppsCommon } from './apps.ts';
import { publicUrlOf } from './banner.ts';
import type { Settings } from './config.ts';
import { throwDatabaseProblem } from './start-problems.ts';
import type { Stores } from './stores.ts';
import { version } from './version.ts';

export interface Admin {
  readonly control: Control;
  /** What links lead to where no setting says it. */
  listensAt(url: string): void;
}

export function adminOf(
  settings: Settings,
  appDatabase: AppDatabase,
  common: AppsCommon & Pick<Stores, 'rateLimiter' | 'nodeDirectory' | 'presenceStore'> & { readonly hub: Hub },
): Admin {
  const { controlBus, clock, observer, hub, rateLimiter, nodeDirectory, presenceStore } = common;
  const oidc = oidcOf(settings);
  const address = { url: '' };
  const publicUrl = () => publicUrlOf(settings.STARLING_PUBLIC_URL, address.url, settings.STARLING_PATH_PREFIX);
  const made = control({
    ...appDatabase,
    controlBus,
    clock,
    observer,
    rateLimiter,
    nodes: nodeDirectory,
    presenceStore,
    watch: new DebugWatch({ hub, controlBus, clock, observer }),
    mayTargetPrivate: settings.STARLING_ALLOW_PRIVATE_TARGETS,
    pathPrefix: settings.STARLING_PATH_PREFIX,
    version,
    ...(oidc === undefined ? {} : { oidc: { ...oidc, publicUrl } }),
  });
  return {
    control: made,
    listensAt: (url) => {
      address.url = url;
    },
  };
}

export async function startAdmin(admin: Control, settings: Settings): Promise<() => Promise<void>> {
  const owner = ownerOf(settings);
  if (owner !== undefined) {
    const made = await admin.people.ensureFirstOwner(owner).catch(throwDatabaseProblem);
    if (!made.ok) throw new StartError(`STARLING_ADMIN_EMAIL, STARLING_ADMIN_PASSWORD: ${made.refusal.message}`);
  }
  return admin.start();
}
