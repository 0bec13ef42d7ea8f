import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { addressOf } from '../common/address.js';

/** Hop-by-hop headers (RFC 9110, section 7.6.1), besides those that `Connection` names. */
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

/** Credentials, and headers that undici rejects. */
const KEPT_BACK = ['authorization', 'x-api-key', 'expect'];

/** Headers that this server sets. Values sent by the client are not forwarded. */
const OWN = /^(?:x-quartermaster-.*|x-forwarded-.*|forwarded|x-real-ip|x-request-id)$/;

/** A host name or an IP address, with a port or without. */
const HOST = /^(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i;

/** Returns the headers for the upstream: those of the call, and those that this server adds. */
export function headersToUpstream(
  headers: IncomingHttpHeaders,
  request: FastifyRequest,
  { keyId, ownerId }: { keyId: string; ownerId: string },
): IncomingHttpHeaders {
  const passedOn = Object.fromEntries(
    Object.entries(endToEnd(headers)).filter(
      // Some servers treat `_` as `-`.
      ([name]) => !KEPT_BACK.includes(name) && !OWN.test(name.replaceAll('_', '-')),
    ),
  );
  const forwardedFor = addressesOf(request);
  return {
    ...passedOn,
    ...(forwardedFor === '' ? {} : { 'x-forwarded-for': forwardedFor }),
    ...(HOST.test(request.host) ? { 'x-forwarded-host': request.host } : {}),
    'x-forwarded-proto': request.protocol === 'https' ? 'https' : 'http',
    'x-request-id': request.id,
    'x-quartermaster-key': keyId,
    'x-quartermaster-owner': ownerId,
  };
}

/** Returns the client address and the proxies that TRUST_PROXY trusts, nearest proxy last. */
function addressesOf({ ips, ip }: FastifyRequest): string {
  return [...(ips ?? [ip])]
    .reverse()
    .flatMap((address) => addressOf(address) ?? [])
    .join(', ');
}

/** The upstream of a forwarded call. */
export interface Upstream {
  slug: string;
  /** The base URL. */
  base: string;
  /** The URL of this call. */
  target: string;
}

/** Returns the headers of an upstream response to send to the client. */
export function headersFromUpstream(
  headers: IncomingHttpHeaders,
  upstream: Upstream,
  { host, server }: FastifyRequest,
): IncomingHttpHeaders {
  const answered = Object.fromEntries(
    Object.entries(endToEnd(headers)).filter(
      // This server sets its own values for these headers.
      ([name]) => !['ratelimit', 'ratelimit-policy', 'x-request-id'].includes(name),
    ),
  );
  const below = `${server.basePath}/call/${upstream.slug}`;
  for (const name of ['location', 'content-location']) {
    const address = answered[name];
    if (typeof address === 'string') answered[name] = addressHere(address, upstream, host, below);
  }
  return answered;
}

/** Rewrites a URL below the base of an upstream to one below `below`, its path here. Returns any other URL unchanged. */
function addressHere(address: string, { base, target }: Upstream, host: string, below: string): string {
  if (!URL.canParse(address, target)) return address;
  // Node reads headers as Latin-1; URLs with other characters are sent in UTF-8.
  const [url, root] = [new URL(Buffer.from(address, 'latin1').toString(), target), new URL(base)];
  // Some upstreams build their URLs from X-Forwarded-Host.
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

/** Returns the headers without hop-by-hop headers, names in lower case. */
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
