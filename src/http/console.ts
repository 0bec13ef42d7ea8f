import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from '../common/problem.js';
import { htmlPage, prefersHtml, type HtmlPage } from './html-page.js';
import { packText, sendPacked } from './packed-text.js';
import { sendProblem } from './problem.filter.js';

/** Where `npm run build` puts the console: beside `dist`. */
const FOLDER = fileURLToPath(new URL('../../../console/dist', import.meta.url));

const PAGE = 'index.html';

/** Files whose name changes with their content. */
const ASSETS = 'assets/';

const A_YEAR = 'public, max-age=31536000, immutable';

const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': [
    `default-src 'none'`,
    `script-src 'self'`,
    // Mantine and CodeMirror insert style elements whose text depends on the state of the page.
    `style-src 'self' 'unsafe-inline'`,
    `img-src 'self' data:`,
    `font-src 'self'`,
    `connect-src 'self'`,
    `form-action 'self'`,
    `base-uri 'none'`,
    `frame-ancestors 'none'`,
  ].join('; '),
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
};

const notBuilt = (basePath: string): HtmlPage =>
  htmlPage(
    'The console is not built',
    `<p>Run <code>npm run build</code> and restart the server.</p>
<ul>
<li><a href="${basePath}/docs">Read and try the API</a></li>
</ul>`,
  );

type Handler = (request: FastifyRequest<{ Params: { '*'?: string } }>, reply: FastifyReply) => FastifyReply;

/** Serves the web console at `/console`: its files, and its page for every other path outside `assets/`. */
export async function serveConsole(server: FastifyInstance): Promise<void> {
  const handler = existsSync(join(FOLDER, PAGE)) ? await serveBuilt(server) : answerNotBuilt(server);
  for (const path of ['/console', '/console/', '/console/*']) server.get(path, handler);
}

/** Lists the files once, so that a request can name only these, and a path cannot leave the folder. */
async function serveBuilt(server: FastifyInstance): Promise<Handler> {
  await server.register(fastifyStatic, {
    ...{ root: FOLDER, serve: false, index: false, cacheControl: false },
    // Serves `x.js.br` or `x.js.gz` in place of `x.js`.
    preCompressed: true,
  });
  // Vite writes the addresses of files relative to the page, which has many paths.
  const html = readFileSync(join(FOLDER, PAGE), 'utf8').replaceAll('="./', `="${server.basePath}/console/`);
  const page = packText(html);
  const files = new Set(filesBelow(FOLDER));
  files.delete(PAGE);
  return (request, reply) => {
    const path = request.params['*'] ?? '';
    if (files.has(path)) {
      return reply.header('cache-control', path.startsWith(ASSETS) ? A_YEAR : 'no-cache').sendFile(path);
    }
    if (path.startsWith(ASSETS)) reply.callNotFound();
    else sendPacked(request, reply.headers(PAGE_HEADERS), page);
    return reply;
  };
}

/** Lists the files below a folder, with `/` between the parts of a path, without hidden and compressed ones. */
function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/^\.|\.(br|gz)$/.test(entry.name))
    .map(({ parentPath, name }) => relative(folder, join(parentPath, name)).replaceAll(sep, '/'));
}

function answerNotBuilt(server: FastifyInstance): Handler {
  const page = notBuilt(server.basePath);
  return (request, reply) => {
    if (prefersHtml(request, reply)) reply.code(404).headers(page.headers).send(page.html);
    else sendProblem(new Problem('not_found', { detail: 'The console is not built.' }), request, reply);
    return reply;
  };
}
