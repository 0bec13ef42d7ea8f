import type { FastifyInstance } from 'fastify';

/** The pages of the console that the links in e-mails open, by their paths in the links. */
const PAGES = {
  '/recovery': '/console/reset-password',
  '/email-confirmation': '/console/confirm-email',
};

/**
 * Leads the links in e-mails to the console. Their token is in the fragment, which browsers keep in a redirect and do not
 * send. The console posts it only when the user submits the form, so programs that follow links do not use it up.
 */
export function serveRecoveryPages(server: FastifyInstance): void {
  for (const [path, page] of Object.entries(PAGES)) {
    server.get(path, (request, reply) => {
      server.usage.watch(request, reply);
      return reply
        .headers({ 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' })
        .redirect(server.basePath + page);
    });
  }
}
