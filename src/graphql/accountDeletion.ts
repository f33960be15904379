/** `deleteMyAccount`. The password is hashed and compared here, so that no statement contains one. */
import { context, type FieldArgs, lambda, object, type Step, sideEffect } from 'grafast'
import { extendSchema, gql } from 'postgraphile/utils'
import { type PasswordProof, wrongPassword } from '../identity/recovery.ts'
import { sqlCall } from './sqlCall.ts'

const typeDefs = gql`
  input DeleteMyAccountInput {
    password: String!
  }

  type DeleteMyAccountPayload {
    "Always true."
    ok: Boolean!
  }

  extend type Mutation {
    """
    Deletes the account of the caller and what identifies the person: name, e-mail address, sessions, memberships and mails. Invoices,
    ledger and audit trail keep the id of the account. A dealer without another owner is closed, and API keys that the caller made stop.
    The last admin gets a conflict (409). So does an owner whose dealer would be closed while it has an open checkout, an unsettled
    invoice, or a subscription that is pending or runs. A wrong password counts as a failed login.
    """
    deleteMyAccount(input: DeleteMyAccountInput!): DeleteMyAccountPayload
  }
`

export function makeAccountDeletionPlugin(provePassword: PasswordProof): GraphileConfig.Plugin {
  return extendSchema(({ pgResources }) => {
    const remove = sqlCall(pgResources, 'delete_my_account')
    const deleteMyAccount = (_$root: Step, args: FieldArgs) => {
      const $given = [args.getRaw(['input', 'password']), context().get('request')] as const
      const $hash = sideEffect($given, ([password, request]) => provePassword(password, request))
      return object({ ok: lambda(remove($hash), requireDeleted) })
    }
    return { typeDefs, objects: { Mutation: { plans: { deleteMyAccount } } } }
  }, 'AccountDeletionPlugin')
}

/** The password may have changed since it was compared. */
function requireDeleted(deleted: unknown): true {
  if (deleted !== true) throw wrongPassword()
  return true
}
