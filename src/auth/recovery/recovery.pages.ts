import type { FastifyInstance } from 'fastify';
import { htmlPage, type HtmlPage } from '../../http/html-page.js';
import type { Env } from '../../config/env.js';

/**
 * Serves the two pages that the links in e-mails open. Each is one file that loads nothing else. The token is in the
 * fragment of the address, which browsers do not send. The page posts it to the API only when the user submits the
 * form, so programs that follow links do not use it up.
 */
export function serveRecoveryPages(server: FastifyInstance, { passwordPolicy, basePath }: Env): void {
  for (const [path, { html, headers }] of [
    [
      '/recovery',
      page('Set a new password', recovery(basePath, PASSWORD_RULES[passwordPolicy]), recoveryScript(basePath)),
    ],
    ['/email-confirmation', page('Confirm your e-mail address', CONFIRMATION, confirmationScript(basePath))],
  ] as const) {
    server.get(path, (request, reply) => {
      server.usage.watch(request, reply);
      return reply.headers(headers).send(html);
    });
  }
}

const PASSWORD_RULES: Record<Env['passwordPolicy'], string> = {
  classes: '8 to 64 characters: lower case (a–z), upper case (A–Z), a digit (0–9) and a special character.',
  length: '15 to 256 characters of any kind.',
};

/** Returns a page with a form, which its script shows and submits. */
function page(title: string, body: string, script: string): HtmlPage {
  const whole = `<noscript><p>This page needs JavaScript.</p></noscript>
${body}
<div id="alert" role="alert" tabindex="-1"></div>
<div id="status" role="status" tabindex="-1"></div>`;
  return htmlPage(title, whole, SHARED_SCRIPT + script);
}

const recovery = (basePath: string, rules: string): string => `<form id="ask" hidden>
<p>Enter your username or e-mail address. If the account exists, a link is sent to its e-mail address.</p>
<label for="login">Username or e-mail address</label>
<input id="login" name="login" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="254" required>
<button>Send the link</button>
</form>
<form id="reset" hidden>
<label for="password">New password</label>
<input id="password" name="password" type="password" autocomplete="new-password" aria-describedby="rules" required>
<p class="hint" id="rules">${rules}</p>
<label class="check"><input id="show" type="checkbox"> Show the password</label>
<button>Set the password</button>
<p class="hint">This ends all sessions of the account.</p>
<p class="hint" id="another" hidden><a href="${basePath}/recovery">Ask for another link</a></p>
</form>`;

const CONFIRMATION = `<form id="confirm" hidden>
<p>Confirm that the address this link was sent to is yours.</p>
<button>Confirm this address</button>
</form>`;

const SHARED_SCRIPT = `
  'use strict';
  const find = (id) => document.getElementById(id);
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  // Another link opened in the same tab changes only the fragment.
  addEventListener('hashchange', () => { if (location.hash !== '') location.reload(); });

  function say(id, lines) {
    for (const each of ['alert', 'status']) find(each).replaceChildren();
    if (lines.length === 0) return;
    const list = lines.map((line) => Object.assign(document.createElement(lines.length > 1 ? 'li' : 'span'), { textContent: line }));
    const parent = document.createElement(lines.length > 1 ? 'ul' : 'div');
    parent.append(...list);
    find(id).append(parent);
    find(id).focus();
  }

  const SENTENCES = {
    invalid_token: 'This link is no longer valid: it was used, has expired, or was replaced by a newer link.',
    account_disabled: 'The account is disabled. Ask an administrator.',
    too_many_attempts: 'Too many attempts. Try again later.',
  };

  /** Posts the data of a form, and shows the result. */
  function handle(form, path, bodyOf, done) {
    form.hidden = false;
    const button = form.querySelector('button');
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      button.disabled = true;
      say('alert', []);
      try {
        const answer = await fetch(path, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(bodyOf()),
          credentials: 'omit',
        });
        if (answer.ok) {
          form.hidden = true;
          history.replaceState(null, '', location.pathname);
          say('status', [done]);
          return;
        }
        const problem = await answer.json();
        const another = find('another');
        if (another) another.hidden = problem.code !== 'invalid_token';
        const faults = (problem.errors || []).map(({ pointer, detail }) => (pointer === '/newPassword' ? 'The password ' : '') + detail + '.');
        say('alert', faults.length > 0 ? faults : [SENTENCES[problem.code] || 'That did not work. Try again in a moment.']);
      } catch {
        say('alert', ['The server cannot be reached. Try again in a moment.']);
      } finally {
        button.disabled = false;
      }
    });
    form.querySelector('input, button').focus();
  }
`;

const recoveryScript = (basePath: string): string => `
  if (token === null) {
    handle(find('ask'), '${basePath}/v1/auth/recovery', () => ({ login: find('login').value.trim() }),
      'If the account exists and has an e-mail address, a link was sent to it. The link works for 30 minutes. If the account has no e-mail address, ask an administrator for a link.');
  } else {
    find('show').addEventListener('change', () => { find('password').type = find('show').checked ? 'text' : 'password'; });
    handle(find('reset'), '${basePath}/v1/auth/recovery/confirm', () => ({ token, newPassword: find('password').value }),
      'Your password is set. Sign in with it.');
  }
`;

const confirmationScript = (basePath: string): string => `
  if (token === null) say('alert', ['The link is incomplete. Open the whole link from the e-mail.']);
  else handle(find('confirm'), '${basePath}/v1/auth/email-confirmation/confirm', () => ({ token }), 'Your e-mail address is confirmed.');
`;
