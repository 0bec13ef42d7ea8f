/**
 * Writes the OpenAPI document to docs/openapi.json: `npm run openapi`. Instantiates nothing, so it needs no database.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { openApiDocument } from './openapi-document.js';
import { AppModule } from './app.module.js';
import { Env } from './config/env.js';

const file = fileURLToPath(new URL('../../docs/openapi.json', import.meta.url));
const app = await NestFactory.create<NestFastifyApplication>(AppModule.forRoot(new Env({})), new FastifyAdapter(), {
  preview: true,
  logger: false,
});
writeFileSync(file, `${JSON.stringify(openApiDocument(app), null, 2)}\n`);
console.log(`Written: ${file}`);
