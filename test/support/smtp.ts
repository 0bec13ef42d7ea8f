import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import PostalMime, { type Email } from 'postal-mime';
import { SMTPServer } from 'smtp-server';
import { until } from './until.js';

/** An e-mail as it arrived. */
export interface Received {
  /** Of the envelope. */
  recipients: string[];
  /** Its source. */
  raw: string;
  mail: Email;
}

/** A mail server with a mailbox for everyone. */
export class Mailbox {
  readonly received: Received[] = [];
  /** How often somebody wanted to hand something over. */
  attempts = 0;
  /** What it says to a recipient, where it does not take it: an SMTP code. */
  refusals = new Map<string, number>();
  port = 0;
  /** Who may hand something over; nobody has to say who he is where there is none. */
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

  /** Begins to listen, on the same port as before. */
  async open(): Promise<void> {
    const server = new SMTPServer({
      disabledCommands: [...(this.credentials ? [] : ['AUTH' as const]), 'STARTTLS'],
      allowInsecureAuth: true,
      // A server that repeats what it was told is the worst there is.
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
    // Who hands something over may be killed meanwhile.
    server.on('error', () => undefined);
    server.listen(this.port, '127.0.0.1');
    await once(server.server, 'listening');
    this.port = (server.server.address() as AddressInfo).port;
    this.server = server;
  }

  /** Stops to listen. */
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

  /** The e-mail to an address, once so many of that subject have come. */
  async next(address: string, subject: RegExp, count = 1): Promise<Received> {
    await until(() => this.to(address, subject).length >= count);
    return this.to(address, subject)[count - 1]!;
  }
}

/** The token in the link of an e-mail. */
export function tokenOf({ mail }: Received): string {
  const token = /#token=(\S+)$/m.exec(mail.text ?? '')?.[1];
  if (token === undefined) throw new Error(`No token in: ${mail.text ?? ''}`);
  return token;
}
