/** Users, what they are in organisations, who is invited, and who runs the installation: their rows. */
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
