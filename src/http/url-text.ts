import type { FastifyInstance, onRequestHookHandler } from 'fastify';
import { Problem, type FieldError } from '../common/problem.js';
import { declaredOptions } from './route-options.js';

/** Whether a text has a `%` that does not begin a percent-encoded byte. */
export function hasBarePercent(text: string): boolean {
  return /%(?![0-9a-f]{2})/i.test(text);
}

/**
 * Rejects queries that are not percent-encoded UTF-8. The router keeps such texts as they are: `%ff` would be the three
 * characters.
 */
export function refuseMalformedQueries(server: FastifyInstance): void {
  server.addHook('onRoute', (route) => {
    if (!declaredOptions(route).passesOn) route.onRequest = [route.onRequest ?? [], refuseMalformedQuery].flat();
  });
}

const refuseMalformedQuery: onRequestHookHandler = ({ raw }, _reply, done) => {
  const faults = faultsOf(raw.url ?? '');
  done(faults.length > 0 ? Problem.fields(faults) : undefined);
};

function faultsOf(url: string): FieldError[] {
  const start = url.indexOf('?');
  if (start === -1 || !url.includes('%', start)) return [];
  return url
    .slice(start + 1)
    .split('&')
    .filter((parameter) => !isDecodable(parameter))
    .map((parameter) => {
      const [name = ''] = parameter.split('=', 1);
      return {
        pointer: `/${isDecodable(name) ? decodeURIComponent(name) : name}`,
        detail: hasBarePercent(parameter) ? 'must have each % written as %25' : 'must be percent-encoded UTF-8',
      };
    });
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
