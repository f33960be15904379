// Errors of the embedded server. The message says what to do; programs compare `code`.

export type EmbeddedErrorCode =
  | 'ALREADY_RUNNING'
  | 'BINARIES_UNUSABLE'
  | 'BROKEN_SECRET'
  | 'CANNOT_LOCK'
  | 'CANNOT_RUN_AS_ROOT'
  | 'CLUSTER_NOT_CREATED'
  | 'FOREIGN_CLUSTER'
  | 'START_FAILED'
  | 'STOP_FAILED'
  | 'WRONG_PASSWORD'

export class EmbeddedError extends Error {
  override readonly name = 'EmbeddedError'
  readonly code: EmbeddedErrorCode

  constructor(code: EmbeddedErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
  }
}
