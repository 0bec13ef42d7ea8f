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
  label { display: block; font-weight: 600; }
  input:not([type=checkbox]) { box-sizing: border-box; width: 100%; margin: .25rem 0; padding: .6rem; font: inherit; border: 1px solid #767676; border-radius: .3rem; }
  label.check { display: flex; gap: .5rem; align-items: center; font-weight: 400; min-height: 2.75rem; }
  .check input { width: 1.2rem; height: 1.2rem; }
  .hint { margin: .25rem 0; font-size: .9rem; }
  button { width: 100%; margin-top: .75rem; padding: .7rem; font: inherit; font-weight: 600; color: #fff; background: #1d4f91; border: 0; border-radius: .3rem; cursor: pointer; }
  button:disabled { opacity: .6; cursor: default; }
  :focus-visible { outline: 3px solid #e8871e; outline-offset: 2px; }
  [role=alert]:not(:empty), [role=status]:not(:empty) { margin-top: 1rem; padding: .6rem .8rem; border-left: .3rem solid #c22; }
  [role=status]:not(:empty) { border-left-color: #2a7d2a; }
  ul { margin: 0; padding-left: 1.2rem; }
`;

/** @param script the only script that the page may run; undefined: none */
export function htmlPage(title: string, body: string, script?: string): HtmlPage {
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
${script === undefined ? '' : `<script>${script}</script>\n`}</body>
</html>
`;
  const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  return {
    html,
    // Allows only the page's own script and style, only requests to this server, and sends no referrer.
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': [
        `default-src 'none'`,
        ...(script === undefined ? [] : [`script-src ${hashOf(script)}`, `connect-src 'self'`]),
        `style-src ${hashOf(STYLE)}`,
        // For the empty icon, without which browsers request one.
        `img-src data:`,
        `base-uri 'none'`,
        // If the script does not run, a form must not put a password into the URL.
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
