import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import Negotiator from 'negotiator';
import { addVary } from './conditional/vary.js';

/** A self-contained HTML page and its response headers. */
export interface HtmlPage {
  html: string;
  headers: Record<string, string>;
}

const STYLE = `
  :root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
  body { margin: 0; padding: 1rem; }
  main { max-width: 26rem; margin: 8vh auto 0; }
  h1 { font-size: 1.5rem; line-height: 1.2; }
  :focus-visible { outline: 3px solid #e8871e; outline-offset: 2px; }
  ul { margin: 0; padding-left: 1.2rem; }
`;

/** Returns a page without scripts. */
export function htmlPage(title: string, body: string): HtmlPage {
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title} – Quartermaster</title>
<link rel="icon" href="data:,">
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${title}</h1>
${body}
</main>
</body>
</html>
`;
  return {
    html,
    // Allows only the page's own style, and sends no referrer.
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': [
        `default-src 'none'`,
        `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
        // For the empty icon, without which browsers request one.
        `img-src data:`,
        `base-uri 'none'`,
        `form-action 'none'`,
        `frame-ancestors 'none'`,
      ].join('; '),
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
    },
  };
}

/** The media types offered. The first wins if the client accepts both equally. */
const KINDS = ['application/json', 'text/html'];

/**
 * Whether a client prefers a page over data (`Accept`): browsers do, programs that accept anything do not. Adds
 * `Accept` to `Vary`.
 */
export function prefersHtml(request: FastifyRequest, reply: FastifyReply): boolean {
  addVary(reply, 'accept');
  return new Negotiator(request).mediaType(KINDS) === 'text/html';
}
