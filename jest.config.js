// Node strips the types; jest only needs to know that .ts files are modules.
export default {
  extensionsToTreatAsEsm: ['.ts'],
  transform: {},
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  globalSetup: '<rootDir>/test/support/globalSetup.ts',
  globalTeardown: '<rootDir>/test/support/globalTeardown.ts',
  // a worker keeps the modules of each file that it has run, and ends before they fill its heap
  maxWorkers: '100%',
  workerIdleMemoryLimit: '1GB',
  // a machine that is busy with other work starts a process in more than half a minute
  testTimeout: 240_000,
}
