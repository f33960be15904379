/**
 * Caches compiled code between starts, and the JavaScript that Node makes of each TypeScript file. Without the cache, each
 * process loads a WebAssembly compiler to strip the types, which takes 20 MB and part of each start.
 *
 * - Loaded with `node --import`: if main.ts enabled the cache, main.ts itself would not be cached.
 * - Plain JavaScript, because type stripping is what the cache avoids.
 * - Not set as NODE_COMPILE_CACHE in package.json, because npm scripts have no syntax for it that works on all systems.
 *   Where that variable is set, Node uses it instead of the directory here.
 *
 * `npm ci` empties the directory. Node finds an entry by the content of the file, writes entries atomically, and runs without
 * a cache where it cannot write.
 */
import { enableCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'

enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/forecourt', import.meta.url)))
