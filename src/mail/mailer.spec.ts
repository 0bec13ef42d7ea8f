import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { Env } from '../config/env.js';
import { Mailer, NotSent } from './mailer.js';

const CONTENT = { subject: 'Hello', text: 'Hello.', html: '<p>Hello.</p>' };

/** Tries to send one e-mail to a server. @returns the outcome, and who signed in */
async function send(
  options: SMTPServerOptions,
  urlOf: (port: number) => string,
): Promise<{ outcome: string; isFinal?: boolean; signedIn: string[] }> {
  const signedIn: string[] = [];
  const server = new SMTPServer({
    // The server warns about its self-signed certificate, which these tests need.
    logger: false,
    onAuth: ({ username, password }, _session, done) => {
      signedIn.push(`${username ?? ''}:${password ?? ''}`);
      done(username === 'a@b' ? null : new Error('no'), { user: username });
    },
    onData: (stream, _session, done) => {
      stream.resume();
      stream.on('end', () => {
        done();
      });
    },
    ...options,
  });
  server.on('error', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server.server, 'listening');
  const mailer = new Mailer(new Env({ SMTP_URL: urlOf((server.server.address() as AddressInfo).port) }));
  try {
    await mailer.send('an-id', 'ada@example.com', CONTENT);
    return { outcome: 'sent', signedIn };
  } catch (error) {
    if (!(error instanceof NotSent)) throw error;
    return { outcome: error.message, isFinal: error.isFinal, signedIn };
  } finally {
    mailer.onApplicationShutdown();
    await new Promise<void>((resolve) => {
      server.close(resolve);
    });
  }
}

describe('the mailer', () => {
  test('is on if a mail server is configured', () => {
    expect(new Mailer(new Env({})).isOn).toBe(false);
    expect(new Mailer(new Env({ SMTP_URL: 'smtp://mail.example.com' })).isOn).toBe(true);
  });

  test('signs in with the user and password of SMTP_URL', async () => {
    const open = { disabledCommands: ['STARTTLS'], allowInsecureAuth: true };
    const result = await send(open, (port) => `smtp://a%40b:p%2Fw%C3%A4@127.0.0.1:${port}`);
    expect(result).toEqual({ outcome: 'sent', signedIn: ['a@b:p/wä'] });
  });

  test('fails temporarily if the sign-in is rejected, and does not disclose the password', async () => {
    const open = { disabledCommands: ['STARTTLS'], allowInsecureAuth: true };
    const result = await send(open, (port) => `smtp://me:hunter2@127.0.0.1:${port}`);
    expect(result).toEqual({ outcome: 'EAUTH 535', isFinal: false, signedIn: ['me:hunter2'] });
  });

  test('sends no password over the network without TLS', async () => {
    const open = { disabledCommands: ['STARTTLS'], allowInsecureAuth: true };
    // 0.0.0.0 also leads to this machine, but is not recognized as local.
    const result = await send(open, (port) => `smtp://a%40b:hunter2@0.0.0.0:${port}`);
    expect(result).toMatchObject({ isFinal: false, signedIn: [] });
    expect(result.outcome).not.toContain('hunter2');
  });

  test.each(['smtp', 'smtps'])('rejects an untrusted certificate: %s', async (scheme) => {
    const server = { secure: scheme === 'smtps', authOptional: true };
    const result = await send(server, (port) => `${scheme}://a%40b:hunter2@127.0.0.1:${port}`);
    expect(result).toMatchObject({ isFinal: false, signedIn: [] });
  });

  test.each([
    [450, false],
    [550, true],
  ])('reports whether the error of a mailbox is final: %i', async (responseCode, isFinal) => {
    const refusing: SMTPServerOptions = {
      disabledCommands: ['STARTTLS', 'AUTH'],
      onRcptTo: (_address, _session, done) => {
        done(Object.assign(new Error('ada@example.com? No.'), { responseCode }));
      },
    };
    const result = await send(refusing, (port) => `smtp://127.0.0.1:${port}`);
    expect(result).toEqual({ outcome: `EENVELOPE ${responseCode}`, isFinal, signedIn: [] });
  });
});
