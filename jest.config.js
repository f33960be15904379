// Node strips the types; jest only needs to know that .ts files are modules.
export default {
  extensionsToTreatAsEsm: ['.ts'],
  transform: {},
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  globalSetup: '<rootDir>/test/support/globalSetup.ts',
  globalTeardown: '<rootDir>/test/support/globalTeardown.ts',
  // by default one core stays free, which is half of a machine with two
  maxWorkers: '100%',
  // a worker keeps the modules of each file that it has run; over this size it is replaced
  workerIdleMemoryLimit: '1GB',
  // on a busy machine a process may need more than half a minute to start
  testTimeout: 240_000,
}
