import { composeMail, type MailKind } from './mails.js';

const URL = 'https://qm.example.com';
const KINDS: MailKind[] = ['reset', 'confirm', 'password-changed', 'email-changed'];

describe('an e-mail', () => {
  test.each(KINDS)('has the same content in text and HTML: %s', (kind) => {
    const { subject, text, html } = composeMail(kind, { account: 'ada', token: 'qmt_x' }, URL);
    expect(subject).toMatch(/^[\x20-\x7e]{5,60}$/);
    for (const paragraph of text.trim().split('\n\n')) expect(html).toContain(paragraph);
    expect(text).toContain('account ada at https://qm.example.com');
  });

  test.each([
    ['reset', `${URL}/recovery#token=qmt_x`],
    ['confirm', `${URL}/email-confirmation#token=qmt_x`],
  ] as const)('links to its page, with the token in the fragment: %s', (kind, link) => {
    const { text, html } = composeMail(kind, { account: 'ada', token: 'qmt_x' }, URL);
    expect(text.split('\n')).toContain(link);
    expect(html).toContain(`<a href="${link}">`);
  });

  test.each(['password-changed', 'email-changed'] as const)(
    'contains no token if it has no link for it: %s',
    (kind) => {
      const { text, html } = composeMail(kind, { account: 'ada', token: 'qmt_x' }, URL);
      expect(text + html).not.toContain('qmt_x');
    },
  );

  test.each(KINDS)('loads nothing and runs nothing: %s', (kind) => {
    const { html } = composeMail(kind, { account: 'ada', token: 'qmt_x' }, URL);
    expect(html).not.toMatch(/<(img|script|link|iframe|style|object)|src=|url\(|@import/i);
  });

  test.each(KINDS)('escapes HTML in the account, and keeps the account out of the subject: %s', (kind) => {
    const account = `"><script>alert(1)</script>&'\r\nBcc: eve@example.com`;
    const { subject, html } = composeMail(kind, { account, token: 'x' }, URL);
    expect(subject).not.toMatch(/[\r\n]/);
    expect(html).not.toContain('<script');
    expect(html).toContain('&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#39;');
  });
});
