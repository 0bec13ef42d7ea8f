import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import PostalMime, { type Email } from 'postal-mime';
import { SMTPServer } from 'smtp-server';
import { until } from './until.js';

/** A received e-mail. */
export interface Received {
  /** The recipients of the envelope. */
  recipients: string[];
  /** The source text. */
  raw: string;
  mail: Email;
}

/** A mail server that accepts e-mails to any address. */
export class Mailbox {
  readonly received: Received[] = [];
  /** The number of connections so far. */
  attempts = 0;
  /** SMTP codes with which recipients are rejected. */
  refusals = new Map<string, number>();
  port = 0;
  /** Required credentials; if undefined, no authentication is needed. */
  credentials: { user: string; pass: string } | undefined;
  private server: SMTPServer | undefined;

  static async start(credentials?: { user: string; pass: string }): Promise<Mailbox> {
    const mailbox = new Mailbox();
    mailbox.credentials = credentials;
    await mailbox.open();
    return mailbox;
  }

  get url(): string {
    const { user, pass } = this.credentials ?? {};
    const login = user === undefined ? '' : `${user}:${encodeURIComponent(pass ?? '')}@`;
    return `smtp://${login}127.0.0.1:${this.port}`;
  }

  /** Starts to listen, on the same port as before. */
  async open(): Promise<void> {
    const server = new SMTPServer({
      disabledCommands: [...(this.credentials ? [] : ['AUTH' as const]), 'STARTTLS'],
      allowInsecureAuth: true,
      // Repeats the password in its error, which is the worst case for logs.
      onAuth: ({ username, password }, _session, done) => {
        if (password === this.credentials?.pass) done(null, { user: username });
        else done(Object.assign(new Error(`not with ${String(password)}`), { responseCode: 535 }));
      },
      onConnect: (_session, done) => {
        this.attempts++;
        done();
      },
      onRcptTo: ({ address }, _session, done) => {
        const responseCode = this.refusals.get(address);
        done(responseCode === undefined ? null : Object.assign(new Error(`not for ${address}`), { responseCode }));
      },
      onData: (stream, session, done) => {
        const chunks: Buffer[] = [];
        stream.on('data', (chunk: Buffer) => chunks.push(chunk));
        stream.on('end', () => {
          const raw = Buffer.concat(chunks).toString();
          const recipients = session.envelope.rcptTo.map(({ address }) => address);
          void PostalMime.parse(raw).then((mail) => {
            this.received.push({ recipients, raw, mail });
            done();
          });
        });
      },
    });
    // The client may be killed during a transfer.
    server.on('error', () => undefined);
    server.listen(this.port, '127.0.0.1');
    await once(server.server, 'listening');
    this.port = (server.server.address() as AddressInfo).port;
    this.server = server;
  }

  /** Stops listening. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      if (this.server) this.server.close(resolve);
      else resolve();
    });
    this.server = undefined;
  }

  to(address: string, subject?: RegExp): Received[] {
    return this.received.filter(
      ({ recipients, mail }) => recipients.includes(address) && (subject?.test(mail.subject ?? '') ?? true),
    );
  }

  /** Waits for the given number of e-mails to an address with this subject. Returns the last of them. */
  async next(address: string, subject: RegExp, count = 1): Promise<Received> {
    await until(() => this.to(address, subject).length >= count);
    return this.to(address, subject)[count - 1]!;
  }
}

/** Returns the token in the link of an e-mail. */
export function tokenOf({ mail }: Received): string {
  const token = /#token=(\S+)$/m.exec(mail.text ?? '')?.[1];
  if (token === undefined) throw new Error(`No token in: ${mail.text ?? ''}`);
  return token;
}
