import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { createTransport } from 'nodemailer';
import { Env } from '../config/env.js';
import type { MailContent } from './mails.js';

/** Maximum duration of sending one e-mail in milliseconds, so that a shutdown waits no longer. */
const DEADLINE_MS = 20_000;

const CONNECTIONS = 5;

/**
 * A mail server did not accept an e-mail. The message is for the log: it has no address and no text from the server.
 */
export class NotSent extends Error {
  override readonly name = 'NotSent';

  /** @param isFinal whether no retry can succeed, because the mailbox does not exist */
  constructor(
    what: string,
    readonly isFinal: boolean,
  ) {
    super(what);
  }
}

/** Sends e-mails through the mail server of SMTP_URL. */
@Injectable()
export class Mailer implements OnApplicationShutdown {
  private readonly transport: ReturnType<typeof createPool> | undefined;
  private readonly domain: string;

  constructor(private readonly env: Env) {
    this.transport = env.smtpUrl === undefined ? undefined : createPool(new URL(env.smtpUrl));
    this.domain = new URL(env.publicUrl).hostname;
  }

  /** Whether a mail server is configured. */
  get isOn(): boolean {
    return this.transport !== undefined;
  }

  /**
   * Resolves when the mail server has accepted the e-mail.
   * @param id the same for a retry, so that the recipient can detect a duplicate (RFC 5322, section 3.6.4)
   * @throws NotSent
   */
  async send(id: string, to: string, content: MailContent): Promise<void> {
    try {
      await this.transport?.sendMail({
        ...content,
        from: this.env.mailFrom,
        // Not parsed, so that an address cannot become two addresses or a header.
        to: { name: '', address: to },
        messageId: `<${id}@${this.domain}>`,
        // RFC 3834, section 5: prevents automatic replies, such as out-of-office messages.
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

/** Of the 5xx codes, only that of a mailbox is final. The others mean that a server is misconfigured, here or there. */
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
    // Uses STARTTLS if the server offers it. Required if there is a password, except on this machine.
    requireTLS: user !== '' && !/^(localhost|127\..*|\[::1\])$/.test(url.hostname),
    ...(user === '' ? {} : { auth: { user, pass: decodeURIComponent(url.password) } }),
    maxConnections: CONNECTIONS,
    // The outbox retries, and knows for how long.
    maxRequeues: 1,
    idleTimeout: 5_000,
    dnsTimeout: 5_000,
    connectionTimeout: 10_000,
    greetingTimeout: 10_000,
    socketTimeout: 15_000,
  });
}
