import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';
import { Controller, Get, Module, Req, UseGuards } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import express from 'express';
import Fastify from 'fastify';
import { requireQuota as expressQuota } from '../sdk/src/express.js';
import { requireQuota as fastifyQuota } from '../sdk/src/fastify.js';
import { Quartermaster } from '../sdk/src/index.js';
import { requireQuota as nestQuota } from '../sdk/src/nestjs.js';
import { grantOf, type QuotaOptions } from '../sdk/src/quota.js';
import { Api, sendExactly, type Answer } from './support/api.js';
import { CuttingProxy } from './support/cutting-proxy.js';
import { Fleet, tally, type Key } from './support/fleet.js';
import { headerOf, load, write, type Reply } from './support/load.js';

/** A program that serves one route under a quota of api1, and returns the owner of the grant. */
interface Program {
  url: string;
  close: () => Promise<unknown>;
}

type Options = QuotaOptions<{ headers: Record<string, string | string[] | undefined> }>;

const PROGRAMS: Record<string, (options: Options) => Promise<Program>> = {
  'Express 5': async (options) => {
    const app = express();
    app.use(expressQuota('api1', options as never), (request, response) => {
      response.json({ owner: grantOf(request)?.owner ?? null });
    });
    const server = app.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return programOf(server);
  },
  'Fastify 5': async (options) => {
    const app = Fastify();
    app.get('/', { onRequest: fastifyQuota('api1', options) }, (request) => ({
      owner: grantOf(request)?.owner ?? null,
    }));
    await app.listen({ port: 0, host: '127.0.0.1' });
    return { url: urlOf(app.server), close: () => app.close() };
  },
  'NestJS 12': async (options) => {
    @Controller()
    class RootController {
      @Get()
      @UseGuards(nestQuota('api1', options))
      find(@Req() request: object): object {
        return { owner: grantOf(request)?.owner ?? null };
      }
    }
    @Module({ controllers: [RootController] })
    class RootModule {}
    const app = await NestFactory.create(RootModule, new FastifyAdapter(), { logger: false });
    await app.listen(0, '127.0.0.1');
    return { url: urlOf(app.getHttpServer() as Server), close: () => app.close() };
  },
};

function urlOf(server: Server): string {
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}

function programOf(server: ReturnType<ReturnType<typeof express>['listen']>): Program {
  return {
    url: urlOf(server),
    close: () => {
      server.closeAllConnections();
      server.close();
      return once(server, 'close');
    },
  };
}

let fleet: Fleet;

beforeAll(async () => {
  fleet = await Fleet.start(2);
  await fleet.setWindows({});
});

afterAll(() => fleet.stop());

/** A key of a new owner with a limit of calls of api1 a day. */
async function limitedKey(limit: number): Promise<Key> {
  const owner = await fleet.makeUser();
  await fleet.setQuota(owner, 'api:api1', limit, 'day');
  return fleet.makeKey(owner);
}

function clientOf(url: string): Quartermaster {
  return new Quartermaster({ url, retries: 4 });
}

function get({ url }: Program, headers: Record<string, string> = {}): Promise<Answer> {
  return sendExactly(new Api(url), 'GET', '/', headers);
}

describe.each(Object.entries(PROGRAMS))('requireQuota for %s', (_name, start) => {
  test('a granted request is served, with its owner and RateLimit', async () => {
    const program = await start({ client: clientOf(fleet.servers[0]!.url) });
    const key = await limitedKey(5);
    for (const headers of [{ 'x-api-key': key.key }, { authorization: `Bearer ${key.key}` }] as const) {
      const answer = await get(program, headers);
      expect(answer).toMatchObject({ status: 200, body: { owner: key.owner } });
      expect(answer.headers.get('ratelimit-policy')).toBe('"day";q=5;w=86400');
      expect(answer.headers.get('ratelimit')).toMatch(/^"day";r=[34];t=\d+$/);
    }
    await program.close();
  });

  test('a request that is not granted: 401, 403 or 429 as a problem', async () => {
    const cost = ({ headers }: { headers: Record<string, unknown> }): number => Number(headers['x-cost'] ?? 1);
    const program = await start({ client: clientOf(fleet.servers[0]!.url), cost });
    const key = await limitedKey(5);
    const narrow = await fleet.makeKey(key.owner, { scopes: ['api2'] });
    for (const [headers, status, code] of [
      [{}, 401, 'unauthenticated'],
      [{ 'x-api-key': 'garbage' }, 401, 'invalid_api_key'],
      [{ 'x-api-key': narrow.key }, 403, 'scope_denied'],
    ] as const) {
      const answer = await get(program, headers);
      expect(answer).toMatchObject({ status, body: { status, code } });
      expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
      expect(answer.headers.get('www-authenticate') ?? '').toBe(status === 401 ? 'Bearer' : '');
    }
    expect((await get(program, { 'x-api-key': key.key, 'x-cost': '4' })).status).toBe(200);
    const refused = await get(program, { 'x-api-key': key.key, 'x-cost': '2' });
    expect(refused).toMatchObject({ status: 429, body: { code: 'quota_exceeded', violated: [{ limit: 5, used: 4 }] } });
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(refused.headers.get('ratelimit')).toMatch(/^"day";r=1;t=\d+$/);
    const never = await get(program, { 'x-api-key': key.key, 'x-cost': '6' });
    expect([never.status, never.headers.get('retry-after')]).toEqual([429, null]);
    // A cost that the server rejects is an error of the program, and grants nothing.
    expect((await get(program, { 'x-api-key': key.key, 'x-cost': '0' })).status).toBe(503);
    await program.close();
  });

  test('Quartermaster does not answer: 503, or served unmetered with failOpen', async () => {
    const client = new Quartermaster({ url: 'http://127.0.0.1:1', retries: 0 });
    const [closed, open] = [await start({ client }), await start({ client, failOpen: true })];
    const refused = await get(closed, { 'x-api-key': 'qm_x' });
    expect(refused).toMatchObject({ status: 503, body: { code: 'quota_unavailable' } });
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(await get(open, { 'x-api-key': 'qm_x' })).toMatchObject({ status: 200, body: { owner: null } });
    // Without a key there is nothing to ask.
    expect((await get(open)).status).toBe(401);
    await Promise.all([closed.close(), open.close()]);
  });
});

/** Outcomes of 300 requests at once, to two programs in turn. */
async function rush(programs: Program[], key: Key): Promise<Record<string, number>> {
  const left = programs.map(() => 150);
  const outcomes: string[] = [];
  await load(programs, 150, (program) => {
    if (left[program]!-- <= 0) return undefined;
    const heard = (reply: Reply): void => {
      outcomes.push(`${String(reply.status)}${headerOf(reply, 'retry-after') === undefined ? '' : ' retry'}`);
    };
    return { text: write('GET', '/', { 'x-api-key': key.key }), heard };
  });
  return tally(outcomes);
}

describe('Express with a server each, 300 requests at once against a limit of 100', () => {
  const start = PROGRAMS['Express 5']!;

  test('exactly 100 are served', async () => {
    const programs = await Promise.all(fleet.servers.map(({ url }) => start({ client: clientOf(url) })));
    const key = await limitedKey(100);
    expect(await rush(programs, key)).toEqual({ 200: 100, '429 retry': 200 });
    expect(await fleet.counter(key.owner, 'api:api1', 'day')).toBe(100);
    await Promise.all(programs.map(({ close }) => close()));
  });

  test('every first response of Quartermaster is lost: still exactly 100', async () => {
    const proxies = await Promise.all(fleet.servers.map(({ url }) => CuttingProxy.to(url)));
    const programs = await Promise.all(proxies.map(({ url }) => start({ client: clientOf(url) })));
    const key = await limitedKey(100);
    expect(await rush(programs, key)).toEqual({ 200: 100, '429 retry': 200 });
    expect(proxies.map(({ lost }) => lost)).toEqual([150, 150]);
    expect(await fleet.counter(key.owner, 'api:api1', 'day')).toBe(100);
    await Promise.all(programs.map(({ close }) => close()));
    await Promise.all(proxies.map((proxy) => proxy.close()));
  });
});
