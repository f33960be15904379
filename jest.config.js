// Node strips the types; jest only needs to know that .ts files are modules.
export default {
  // the default on two cores is one worker, which takes twice as long: most tests wait for processes
  maxWorkers: 2,
  extensionsToTreatAsEsm: ['.ts'],
  transform: {},
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  globalSetup: '<rootDir>/test/support/globalSetup.ts',
  globalTeardown: '<rootDir>/test/support/globalTeardown.ts',
  // a machine that is busy with other work starts a process in more than half a minute
  testTimeout: 240_000,
}
