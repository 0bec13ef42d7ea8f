import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { createTransport } from 'nodemailer';
import { Env } from '../config/env.js';
import type { MailContent } from './mails.js';

/** Milliseconds that one e-mail may take in all, so that a stop waits no longer. */
const DEADLINE_MS = 20_000;

const CONNECTIONS = 5;

/** A mail server did not take an e-mail. Its message is for the log: no address, no text of the other side. */
export class NotSent extends Error {
  override readonly name = 'NotSent';

  /** @param isFinal whether it will never take it: there is no such mailbox */
  constructor(
    what: string,
    readonly isFinal: boolean,
  ) {
    super(what);
  }
}

/** Hands e-mails to the mail server of SMTP_URL. */
@Injectable()
export class Mailer implements OnApplicationShutdown {
  private readonly transport: ReturnType<typeof createPool> | undefined;
  private readonly domain: string;

  constructor(private readonly env: Env) {
    this.transport = env.smtpUrl === undefined ? undefined : createPool(new URL(env.smtpUrl));
    this.domain = new URL(env.publicUrl).hostname;
  }

  /** Whether there is a mail server at all. */
  get isOn(): boolean {
    return this.transport !== undefined;
  }

  /**
   * Resolves once the mail server has taken it.
   * @param id the same when it is sent again: whoever gets it twice can tell (RFC 5322, section 3.6.4)
   * @throws NotSent
   */
  async send(id: string, to: string, content: MailContent): Promise<void> {
    try {
      await this.transport?.sendMail({
        ...content,
        from: this.env.mailFrom,
        // Not parsed: an address never becomes two, nor a header.
        to: { name: '', address: to },
        messageId: `<${id}@${this.domain}>`,
        // RFC 3834, section 5: nobody's absence is to be answered to us.
        headers: { 'Auto-Submitted': 'auto-generated' },
        signal: AbortSignal.timeout(DEADLINE_MS),
        disableFileAccess: true,
        disableUrlAccess: true,
      });
    } catch (error) {
      throw describe(error);
    }
  }

  onApplicationShutdown(): void {
    this.transport?.close();
  }
}

/** Of 5xx codes only that of a mailbox is final: others are of a server that is set up wrongly, here or there. */
function describe(error: unknown): NotSent {
  const { code, command, responseCode = 0 } = error as { code?: string; command?: string; responseCode?: number };
  const what = [code ?? 'unknown', ...(responseCode === 0 ? [] : [String(responseCode)])].join(' ');
  return new NotSent(what, code === 'EENVELOPE' && command === 'RCPT TO' && responseCode >= 500);
}

function createPool(url: URL) {
  const secure = url.protocol === 'smtps:';
  const user = decodeURIComponent(url.username);
  return createTransport({
    pool: true,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port === '' ? (secure ? 465 : 587) : url.port),
    secure,
    // STARTTLS wherever it is offered; where there is a password to lose it must be, but on this machine.
    requireTLS: user !== '' && !/^(localhost|127\..*|\[::1\])$/.test(url.hostname),
    ...(user === '' ? {} : { auth: { user, pass: decodeURIComponent(url.password) } }),
    maxConnections: CONNECTIONS,
    // The outbox tries again, and knows for how long.
    maxRequeues: 1,
    idleTimeout: 5_000,
    dnsTimeout: 5_000,
    connectionTimeout: 10_000,
    greetingTimeout: 10_000,
    socketTimeout: 15_000,
  });
}
