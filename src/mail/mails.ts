/** The e-mails there are. */
export type MailKind = 'reset' | 'confirm' | 'password-changed' | 'email-changed';

/** What an e-mail is made of; the rest are fixed texts. */
export interface MailFacts {
  /** The username, or else the address that the account had: whoever forgot the one may have forgotten the other. */
  account: string;
  /** Of those that hold a link. */
  token?: string;
}

export interface MailContent {
  subject: string;
  text: string;
  html: string;
}

/** The page where a password is set, with the token behind `#`: browsers send that to no server, so no log has it. */
export function resetLink(publicUrl: string, token: string): string {
  return `${publicUrl}/recovery#token=${token}`;
}

/** The page where an e-mail is confirmed; as `resetLink`. */
export function confirmationLink(publicUrl: string, token: string): string {
  return `${publicUrl}/email-confirmation#token=${token}`;
}

/** A paragraph, or a link that is a paragraph of its own. */
type Part = string | { href: string; label: string };

/** Subject and parts; text and HTML are both made of these, so that they say the same. */
function partsOf(kind: MailKind, { account, token = '' }: MailFacts, publicUrl: string): [string, ...Part[]] {
  switch (kind) {
    case 'reset':
      return [
        'Set a new password',
        `Somebody, probably you, asked for a new password for the account ${account} at ${publicUrl}. To choose one, open:`,
        { href: resetLink(publicUrl, token), label: 'Choose a new password' },
        'The link works once, for 30 minutes. Setting a password ends all sessions of the account.',
        'If it was not you, do nothing: the password stays as it is.',
      ];
    case 'confirm':
      return [
        'Confirm your e-mail address',
        `This address was given for the account ${account} at ${publicUrl}. To confirm that it is yours, open:`,
        { href: confirmationLink(publicUrl, token), label: 'Confirm this address' },
        'The link works once, for 24 hours.',
        'If you have no such account, do nothing: the address stays unconfirmed.',
      ];
    case 'password-changed':
      return [
        'Your password was changed',
        `The password of the account ${account} at ${publicUrl} was changed.`,
        'If it was you, there is nothing to do. If it was not, set a new one at once:',
        { href: `${publicUrl}/recovery`, label: 'Set a new password' },
        'And tell an administrator.',
      ];
    case 'email-changed':
      return [
        'Your e-mail address was changed',
        `The account ${account} at ${publicUrl} no longer has this e-mail address.`,
        'If it was you, there is nothing to do. If it was not, tell an administrator at once: this address can no longer recover the account.',
      ];
  }
}

/** An e-mail in plain text and in HTML, which loads nothing from anywhere. */
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

/** The address is shown too: a link that hides where it leads is what people are warned of. */
function anchor({ href, label }: { href: string; label: string }): string {
  const address = escapeHtml(href);
  return `<a href="${address}">${escapeHtml(label)}</a><br>${address}`;
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** For texts and for quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
