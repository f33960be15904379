/** graphile-migrate runs this after it has made the shadow database: our migrations need graphile-worker's schema. */
import { runMigrations } from 'graphile-worker'

const connectionString = process.env.GM_DBURL
if (connectionString === undefined) throw new Error('graphile-migrate sets GM_DBURL for this script.')
await runMigrations({ connectionString })
