/** Imported first: Grafast reads its mode when it is loaded. */
process.env.GRAPHILE_ENV ??= process.env.NODE_ENV === 'production' ? 'production' : 'development'
