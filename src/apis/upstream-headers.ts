import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { addressOf } from '../common/address.js';

/** What is said between two hops only (RFC 9110, section 7.6.1), besides what `Connection` names. */
const HOP_BY_HOP = [
  ...[
    'connection',
    'keep-alive',
    'proxy-connection',
    'te',
    'trailer',
    'transfer-encoding',
    'upgrade',
    'http2-settings',
  ],
  ...['proxy-authenticate', 'proxy-authorization', 'proxy-authentication-info'],
];

/** Credentials, and what undici does not take. */
const KEPT_BACK = ['authorization', 'x-api-key', 'expect'];

/** What this server says of a request: a client's own word on it is not passed on. */
const OWN = /^(?:x-quartermaster-.*|x-forwarded-.*|forwarded|x-real-ip|x-request-id)$/;

/** What an upstream gets of the headers of a call, and what this server tells it of the call. */
export function headersToUpstream(
  headers: IncomingHttpHeaders,
  request: FastifyRequest,
  { keyId, ownerId }: { keyId: string; ownerId: string },
): IncomingHttpHeaders {
  const passedOn = Object.fromEntries(
    Object.entries(endToEnd(headers)).filter(
      // Some servers read `_` as `-`.
      ([name]) => !KEPT_BACK.includes(name) && !OWN.test(name.replaceAll('_', '-')),
    ),
  );
  const forwardedFor = addressesOf(request);
  return {
    ...passedOn,
    ...(forwardedFor === '' ? {} : { 'x-forwarded-for': forwardedFor }),
    ...(request.host === '' ? {} : { 'x-forwarded-host': request.host }),
    'x-forwarded-proto': request.protocol,
    'x-request-id': request.id,
    'x-quartermaster-key': keyId,
    'x-quartermaster-owner': ownerId,
  };
}

/** The client, and the proxies that TRUST_PROXY trusts, the last one last. */
function addressesOf({ ips, ip }: FastifyRequest): string {
  return [...(ips ?? [ip])]
    .reverse()
    .flatMap((address) => addressOf(address) ?? [])
    .join(', ');
}

/** An API that a call is passed on to. */
export interface Upstream {
  slug: string;
  /** Its base. */
  base: string;
  /** Where this call went. */
  target: string;
}

/** What a client gets of the headers of an upstream's answer. */
export function headersFromUpstream(
  headers: IncomingHttpHeaders,
  upstream: Upstream,
  { host }: FastifyRequest,
): IncomingHttpHeaders {
  const answered = Object.fromEntries(
    Object.entries(endToEnd(headers)).filter(
      // Those of this server count.
      ([name]) => !['ratelimit', 'ratelimit-policy', 'x-request-id'].includes(name),
    ),
  );
  for (const name of ['location', 'content-location']) {
    const address = answered[name];
    if (typeof address === 'string') answered[name] = addressHere(address, upstream, host);
  }
  return answered;
}

/** An address below the base of an upstream as the one below `/call/{slug}`; any other as it is. */
function addressHere(address: string, { slug, base, target }: Upstream, host: string): string {
  const below = `/call/${slug}`;
  if (!URL.canParse(address, target)) return address;
  const [url, root] = [new URL(address, target), new URL(base)];
  // Some upstreams write their addresses with X-Forwarded-Host.
  const isOfThisServer = url.host === host;
  if (url.origin !== root.origin && !isOfThisServer) return address;
  if (isOfThisServer && isBelow(url.pathname, below)) return address;
  const basePath = root.pathname.replace(/\/$/, '');
  if (!isBelow(url.pathname, basePath)) return address;
  return below + url.pathname.slice(basePath.length) + url.search + url.hash;
}

function isBelow(path: string, base: string): boolean {
  return path === base || path.startsWith(`${base}/`);
}

/** Headers without those that end at a hop, in lower case. */
function endToEnd(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const named = [headers.connection ?? []]
    .flat()
    .join(',')
    .split(',')
    .map((name) => name.trim().toLowerCase());
  return Object.fromEntries(
    Object.entries(headers)
      .map(([name, value]) => [name.toLowerCase(), value] as const)
      .filter(([name]) => !HOP_BY_HOP.includes(name) && !named.includes(name)),
  );
}
