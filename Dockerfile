# docker build -t quartermaster .
# By itself it brings its PostgreSQL along, in the volume /data; with DATABASE_URL it needs no volume.

FROM node:22-bookworm-slim AS base
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY console/package.json console/
COPY sdk/package.json sdk/

FROM base AS build
# No dependency needs its install script (see allowScripts in package.json), so none is run as root.
RUN npm ci --ignore-scripts
COPY nest-cli.json tsconfig.json tsconfig.build.json ormconfig.ts ./
COPY scripts scripts
COPY src src
COPY sdk/src sdk/src
COPY console console
RUN npm run build

FROM base AS dependencies
RUN npm ci --omit=dev --ignore-scripts

FROM node:22-bookworm-slim
ENV NODE_ENV=production HOST=0.0.0.0 DATA_DIR=/data
WORKDIR /app
COPY package.json ./
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/console/dist console/dist
COPY bin bin
# `docker compose exec app quartermaster doctor`
RUN ln -s /app/bin/quartermaster.js /usr/local/bin/quartermaster
RUN install -d -o node -g node -m 0700 /data
USER node
VOLUME /data
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 3000}${process.env.BASE_PATH ?? ''}/readyz`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# Not through npm or a shell, so that signals reach it; with the flags of `npm start`.
CMD ["node", "--max-semi-space-size=32", "--no-allocation-site-pretenuring", "bin/quartermaster.js", "serve"]
