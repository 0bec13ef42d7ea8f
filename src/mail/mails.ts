/** The kinds of e-mail. */
export type MailKind = 'reset' | 'confirm' | 'password-changed' | 'email-changed';

/** The variable parts of an e-mail. The rest is fixed text. */
export interface MailFacts {
  /** The username or, if there is none, the e-mail of the account at that time. Users may have forgotten it. */
  account: string;
  /** For the kinds that contain a link. */
  token?: string;
}

export interface MailContent {
  subject: string;
  text: string;
  html: string;
}

/**
 * Returns the link to the page that sets a password. The token is in the fragment, which browsers do not send, so no
 * log contains it.
 */
export function resetLink(publicUrl: string, token: string): string {
  return `${publicUrl}/recovery#token=${token}`;
}

/** Returns the link to the page that confirms an e-mail. See `resetLink`. */
export function confirmationLink(publicUrl: string, token: string): string {
  return `${publicUrl}/email-confirmation#token=${token}`;
}

/** A paragraph, or a link in a paragraph of its own. */
type Part = string | { href: string; label: string };

/** Returns the subject and the parts. Text and HTML are made of the same parts, so they have the same content. */
function partsOf(kind: MailKind, { account, token = '' }: MailFacts, publicUrl: string): [string, ...Part[]] {
  switch (kind) {
    case 'reset':
      return [
        'Set a new password',
        `Someone, probably you, requested a new password for the account ${account} at ${publicUrl}. To choose one, open this link:`,
        { href: resetLink(publicUrl, token), label: 'Choose a new password' },
        'The link works once, for 30 minutes. Setting a password ends all sessions of the account.',
        'If you did not request this, ignore this e-mail. The password does not change.',
      ];
    case 'confirm':
      return [
        'Confirm your e-mail address',
        `This address was entered for the account ${account} at ${publicUrl}. To confirm that it is yours, open this link:`,
        { href: confirmationLink(publicUrl, token), label: 'Confirm this address' },
        'The link works once, for 24 hours.',
        'If you do not have this account, ignore this e-mail. The address stays unconfirmed.',
      ];
    case 'password-changed':
      return [
        'Your password was changed',
        `The password of the account ${account} at ${publicUrl} was changed.`,
        'If you made this change, ignore this e-mail. If not, set a new password immediately:',
        { href: `${publicUrl}/console/forgot-password`, label: 'Set a new password' },
        'Then tell an administrator.',
      ];
    case 'email-changed':
      return [
        'Your e-mail address was changed',
        `The account ${account} at ${publicUrl} no longer has this e-mail address.`,
        'If you made this change, ignore this e-mail. If not, tell an administrator immediately: this address can no longer recover the account.',
      ];
  }
}

/** Returns an e-mail in plain text and in HTML that loads no external content. */
export function composeMail(kind: MailKind, facts: MailFacts, publicUrl: string): MailContent {
  const [subject, ...parts] = partsOf(kind, facts, publicUrl);
  const text = parts.map((part) => (typeof part === 'string' ? part : part.href)).join('\n\n');
  const paragraphs = parts.map((part) => `<p>${typeof part === 'string' ? escapeHtml(part) : anchor(part)}</p>`);
  const html = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escapeHtml(subject)}</title></head>
<body style="font: 16px/1.5 sans-serif; max-width: 36em; margin: 1em auto; padding: 0 1em; overflow-wrap: anywhere">
${paragraphs.join('\n')}
</body>
</html>
`;
  return { subject, text: `${text}\n`, html };
}

/** Shows the address of the link too, because users are warned of links that hide their target. */
function anchor({ href, label }: { href: string; label: string }): string {
  const address = escapeHtml(href);
  return `<a href="${address}">${escapeHtml(label)}</a><br>${address}`;
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Escapes a text for HTML text and for quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
