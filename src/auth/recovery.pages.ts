import { createHash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import type { Env } from '../config/env.js';

/**
 * Where the links in e-mails lead: two pages, each one file without anything from elsewhere. The token is behind the `#`
 * of the address, which browsers send to nobody; the page posts it to the API when its reader says so, so that a program
 * that opens links to look at them uses none up.
 */
export function serveRecoveryPages(server: FastifyInstance, { passwordPolicy }: Env): void {
  for (const [path, html] of [
    ['/recovery', page('Set a new password', recovery(PASSWORD_RULES[passwordPolicy]), RECOVERY_SCRIPT)],
    ['/email-confirmation', page('Confirm your e-mail address', CONFIRMATION, CONFIRMATION_SCRIPT)],
  ] as const) {
    const headers = headersOf(html);
    server.get(path, (_request, reply) => reply.headers(headers).type('text/html; charset=utf-8').send(html));
  }
}

const PASSWORD_RULES: Record<Env['passwordPolicy'], string> = {
  classes: '8 to 64 characters: lower case, upper case, a digit and a special character.',
  length: '15 to 256 characters of any kind.',
};

/** Only the script and the style that are in the page, only requests to here, and nobody learns where a link led from. */
function headersOf(html: string): Record<string, string> {
  const hashOf = (element: string): string => {
    const [, text = ''] = new RegExp(`<${element}>([^]*?)</${element}>`).exec(html) ?? [];
    return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  };
  return {
    'content-security-policy': [
      `default-src 'none'`,
      `script-src ${hashOf('script')}`,
      `style-src ${hashOf('style')}`,
      `connect-src 'self'`,
      // The empty icon, without which browsers ask for one.
      `img-src data:`,
      `base-uri 'none'`,
      // Were the script not to run, no form may put a password into an address.
      `form-action 'none'`,
      `frame-ancestors 'none'`,
    ].join('; '),
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
  };
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

function page(title: string, body: string, script: string): string {
  return `<!doctype html>
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
<noscript><p>This page needs JavaScript.</p></noscript>
${body}
<div id="alert" role="alert" tabindex="-1"></div>
<div id="status" role="status" tabindex="-1"></div>
</main>
<script>${SHARED_SCRIPT}${script}</script>
</body>
</html>
`;
}

const recovery = (rules: string): string => `<form id="ask" hidden>
<p>Enter your username or e-mail address. If there is such an account, a link comes to its e-mail address.</p>
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
<p class="hint">All sessions of the account end.</p>
<p class="hint" id="another" hidden><a href="/recovery">Ask for another link</a></p>
</form>`;

const CONFIRMATION = `<form id="confirm" hidden>
<p>Confirm that the address this link was sent to is yours.</p>
<button>Confirm this address</button>
</form>`;

const SHARED_SCRIPT = `
  'use strict';
  const find = (id) => document.getElementById(id);
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  // Another link opened in the same tab changes only what is behind the #.
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
    invalid_token: 'This link does not work any more: it was used, is too old, or there is a newer one.',
    account_disabled: 'The account is disabled. Ask an administrator.',
    too_many_attempts: 'Too many attempts. Try again later.',
  };

  /** Posts what a form says, and shows what became of it. */
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

const RECOVERY_SCRIPT = `
  if (token === null) {
    handle(find('ask'), '/v1/auth/recovery', () => ({ login: find('login').value.trim() }),
      'If there is such an account and it has an e-mail address, the link is on its way. It works for 30 minutes. Without one, ask an administrator for a link.');
  } else {
    find('show').addEventListener('change', () => { find('password').type = find('show').checked ? 'text' : 'password'; });
    handle(find('reset'), '/v1/auth/recovery/confirm', () => ({ token, newPassword: find('password').value }),
      'Your password is set. Sign in with it.');
  }
`;

const CONFIRMATION_SCRIPT = `
  if (token === null) say('alert', ['Something of the link is missing. Open it as it is in the e-mail.']);
  else handle(find('confirm'), '/v1/auth/email-confirmation/confirm', () => ({ token }), 'Your e-mail address is confirmed.');
`;
