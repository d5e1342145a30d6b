/** Each operation of the contract and its code: one that is missing here does not compile. */
import type { OperationId } from '../contract/index.ts';
import type { Implementation } from '../frame/implement.ts';
import { createAccessToken } from './access-tokens/create.ts';
import { listAccessTokens } from './access-tokens/list.ts';
import { revokeAccessToken } from './access-tokens/revoke.ts';
import { changeApp } from './apps/change.ts';
import { createApp } from './apps/create.ts';
import { deleteApp } from './apps/delete.ts';
import { getApp } from './apps/get.ts';
import { getRollout } from './apps/get-rollout.ts';
import { listApps } from './apps/list.ts';
import { listAuditEntries } from './audit/list.ts';
import { listInstallationAuditEntries } from './audit/list-installation.ts';
import type { OperationDeps } from './deps.ts';
import { changeInstallationLimits } from './installation-limits/change.ts';
import { getInstallationLimits } from './installation-limits/get.ts';
import { acceptInvitation } from './invitations/accept.ts';
import { createInvitation } from './invitations/create.ts';
import { listInvitations } from './invitations/list.ts';
import { readInvitation } from './invitations/read.ts';
import { revokeInvitation } from './invitations/revoke.ts';
import { changeKey } from './keys/change.ts';
import { createKey } from './keys/create.ts';
import { deleteKey } from './keys/delete.ts';
import { listKeys } from './keys/list.ts';
import { rotateKey } from './keys/rotate.ts';
import { getFigures } from './live/get-figures.ts';
import { getUsage } from './live/get-usage.ts';
import { listChannelMembers } from './live/list-channel-members.ts';
import { listChannels } from './live/list-channels.ts';
import { listNodes } from './live/list-nodes.ts';
import { changeMe } from './me/change.ts';
import { changePassword } from './me/change-password.ts';
import { readMe } from './me/read.ts';
import { changeMember } from './members/change.ts';
import { listMembers } from './members/list.ts';
import { removeMember } from './members/remove.ts';
import { giveOperator } from './operators/give.ts';
import { listOperators } from './operators/list.ts';
import { takeOperator } from './operators/take.ts';
import { changeOrganisation } from './organisations/change.ts';
import { createOrganisation } from './organisations/create.ts';
import { deleteOrganisation } from './organisations/delete.ts';
import { getOrganisation } from './organisations/get.ts';
import { listOrganisations } from './organisations/list.ts';
import { createRevocation } from './revocations/create.ts';
import { listRevocations } from './revocations/list.ts';
import { confirmSecondFactor } from './second-factor/confirm.ts';
import { offerSecondFactor } from './second-factor/offer.ts';
import { removeSecondFactor } from './second-factor/remove.ts';
import { renewRecoveryCodes } from './second-factor/renew-recovery-codes.ts';
import { endSession } from './sessions/end.ts';
import { endSessions } from './sessions/end-all.ts';
import { listSessions } from './sessions/list.ts';
import { readSignIn } from './sign-in/read.ts';
import { signIn } from './sign-in/sign-in.ts';
import { signOut } from './sign-in/sign-out.ts';
import { changeTokenSettings } from './tokens/change-settings.ts';
import { getTokenSettings } from './tokens/get-settings.ts';
import { changeWebhookEndpoint } from './webhooks/change.ts';
import { createWebhookEndpoint } from './webhooks/create.ts';
import { deleteWebhookEndpoint } from './webhooks/delete.ts';
import { listWebhookEndpoints } from './webhooks/list.ts';

export type { OperationDeps } from './deps.ts';

const implementations: Readonly<Record<OperationId, (deps: OperationDeps) => Implementation>> = {
  listOrganisations,
  getOrganisation,
  createOrganisation,
  changeOrganisation,
  deleteOrganisation,

  listMembers,
  changeMember,
  removeMember,

  listInvitations,
  readInvitation,
  createInvitation,
  acceptInvitation,
  revokeInvitation,

  readSignIn,
  signIn,
  signOut,

  readMe,
  changeMe,
  changePassword,

  listSessions,
  endSession,
  endSessions,

  confirmSecondFactor,
  offerSecondFactor,
  removeSecondFactor,
  renewRecoveryCodes,

  listAccessTokens,
  createAccessToken,
  revokeAccessToken,

  listApps,
  getApp,
  getRollout,
  createApp,
  changeApp,
  deleteApp,

  listKeys,
  createKey,
  rotateKey,
  changeKey,
  deleteKey,

  getTokenSettings,
  changeTokenSettings,

  listRevocations,
  createRevocation,

  listWebhookEndpoints,
  createWebhookEndpoint,
  changeWebhookEndpoint,
  deleteWebhookEndpoint,

  listAuditEntries,
  listInstallationAuditEntries,

  listChannelMembers,
  listChannels,
  listNodes,
  getFigures,
  getUsage,

  listOperators,
  giveOperator,
  takeOperator,

  getInstallationLimits,
  changeInstallationLimits,
};

export function implementationsOf(deps: OperationDeps): readonly Implementation[] {
  return Object.values(implementations).map((make) => make(deps));
}
