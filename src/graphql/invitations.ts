/** `inviteMember` and `acceptInvitation`. Their tokens are made and hashed here, so that no statement contains one. */
import { access, type FieldArgs, lambda, object, type Step, sideEffect } from 'grafast'
import { extendSchema, gql } from 'postgraphile/utils'
import { normalEmail } from '../identity/emails.ts'
import { hashMailToken, newMailToken } from '../identity/secretTokens.ts'
import { sqlCall } from './sqlCall.ts'

const typeDefs = gql`
  input InviteMemberInput {
    dealerId: UUID!
    email: String!
    role: DealerRole!
  }

  type InviteMemberPayload {
    "The new invitation."
    invitation: Invitation!
  }

  input AcceptInvitationInput {
    token: String!
  }

  type AcceptInvitationPayload {
    "The dealer of which you are now a member."
    dealer: Dealer!
  }

  extend type Mutation {
    """
    For owners: invites a person to become a member of the dealer. A mail with a token goes to the e-mail address. The token is
    valid for 7 days. An earlier open invitation of this e-mail address is revoked. The e-mail address of the caller must be verified.
    """
    inviteMember(input: InviteMemberInput!): InviteMemberPayload
    """
    Accepts an invitation to the e-mail address of the caller, and verifies that address. The dealer may invite any address, but only
    the user with that address can accept.
    """
    acceptInvitation(input: AcceptInvitationInput!): AcceptInvitationPayload
  }
`

/** Adds both mutations. The worker opens sealed tokens with the same key. */
export function makeInvitationsPlugin(mailKey: Uint8Array): GraphileConfig.Plugin {
  return extendSchema(({ pgResources }) => {
    const invite = sqlCall(pgResources, 'invite_member')
    const accept = sqlCall(pgResources, 'accept_invitation')
    const inviteMember = (_$root: Step, args: FieldArgs) => {
      const $email = lambda(args.getRaw(['input', 'email']), normalEmail)
      const $token = sideEffect($email, () => newMailToken(mailKey))
      const [$hash, $sealed] = [access($token, 0), access($token, 1)]
      const [$dealerId, $role] = [args.getRaw(['input', 'dealerId']), args.getRaw(['input', 'role'])]
      return object({ invitation: invite($dealerId, $email, $role, $hash, $sealed) })
    }
    const acceptInvitation = (_$root: Step, args: FieldArgs) =>
      object({ dealer: accept(lambda(args.getRaw(['input', 'token']), hashMailToken)) })
    return { typeDefs, objects: { Mutation: { plans: { inviteMember, acceptInvitation } } } }
  }, 'InvitationsPlugin')
}
