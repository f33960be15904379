/** Functions with an id argument that dealerCalls.ts does not cover. */

/** The id is not that of a dealer's row. */
export const SHARED = [
  'describe_session',
  'find_package',
  'finish_job_run',
  'lock_user',
  'lock_user_row',
  'operation_key',
  'record_alert_delivery',
  'retire_package',
  'run_expiry_batch',
  'save_package',
  'unlock_user',
  'write_audit_log',
  // those of a user
  'begin_password_check',
  'change_email',
  'change_password',
  'complete_registration',
  'dealers_of_account',
  'lock_leaving_account',
  'logout',
  // the first dealer of the user: test/identity/recovery.test.ts
  'confirm_email',
  'end_sessions',
  'issue_token',
  'open_session',
  'request_email_verification',
  'require_account',
  'set_password',
]
/** Tried by the tests of otherDealers.test.ts. */
export const BY_ID = [
  'cancel_checkout',
  'cancel_subscription',
  'decide_purchase',
  'end_listing',
  'find_listing',
  'has_owner',
  'lock_listing',
  'mark_listing_sold',
  'moderate_listing',
  'promote_listing',
  'quote_promotion',
  'renew_listing',
  'resubmit_listing',
  'update_listing',
  'withdraw_listing',
  'pay_invoice',
  'quote_package',
  'replay_dealer',
  'require_member',
  'require_open_invitation',
  'require_other_owner',
  'require_settled_dealer',
  'revoke_api_key',
  'revoke_invitation',
  'schedule_expiry',
  'create_dealer',
]
/** They read the rows of all dealers. */
export const VERIFYING = ['verify_listings', 'verify_listings_from']
