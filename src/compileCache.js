/**
 * Keeps what Node compiles, and each of our files without its types, from one start to the next. Stripping types takes a
 * WebAssembly compiler, 20 MB in each process and part of each start; where the cache has every file, it is not loaded.
 *
 * `node --import` runs this first: later is too late for the file that is started. It is JavaScript, for a file with types
 * would need what it is to save, and not an environment variable, for those have no form in package.json that all systems
 * take. NODE_COMPILE_CACHE goes before the directory here. `npm ci` empties that one. Node knows a file by its content, puts
 * entries in their place whole, and goes on without a cache where it cannot write.
 */
import { enableCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'

enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/forecourt', import.meta.url)))
