/** What operations work with; each takes what it needs of it. */
import type { ControlBus, NodeReport, PresenceStore } from '@starling/ports';
import type { Rollout } from '../rollout.ts';
import type { SessionDeps } from '../sessions/index.ts';
import type { SignInDeps } from '../sign-in/index.ts';

export interface OperationDeps extends SignInDeps, SessionDeps {
  readonly controlBus: ControlBus;
  readonly rollout: Rollout;
  /** Of all nodes. */
  readonly nodes: { nodes(): Promise<readonly NodeReport[]> };
  readonly presenceStore: Pick<PresenceStore, 'channels' | 'members'>;
  /** Whether URLs of apps (key sets, webhook endpoints) may lead into the operator's own network. */
  readonly mayTargetPrivate: boolean;
  /** Whether there is an identity provider to sign in with. */
  readonly hasProvider: boolean;
}
