/** The rows of users, of their memberships in organisations, of invitations, and of operators. */
export { domainOf, parseEmail } from './email.ts';
export {
  acceptAsNewUser,
  acceptAsUser,
  deleteInvitation,
  findInvitation,
  type InvitationItem,
  invite,
  isInvited,
  readInvitations,
} from './invitation.ts';
export { changeRole, deleteMember, findMember, type MemberItem, readMembers } from './membership.ts';
export { lockOperators, moveOperator, settleOperator } from './operator.ts';
export {
  changeName,
  changePasswordHash,
  createUser,
  findOwnerOf,
  findUser,
  findUsersAt,
  hasUsers,
  join,
  type MemberDeps,
  membershipsOf,
  type UserRow,
} from './user.ts';
