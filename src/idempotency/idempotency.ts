import { createHmac } from 'node:crypto';
import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Problem } from '../common/problem.js';
import { Seal } from '../config/seal.js';
import { Secrets } from '../config/secrets.js';
import { Database, type Transaction } from '../database/database.js';
import { Sweeper } from '../database/sweeper.js';
import { IdempotencyRepository } from './idempotency.repository.js';

/** What is answered to a request, and to its repetitions. */
export interface Answer {
  /** As it is sent. */
  body: string;
  /** False: it changed nothing, and a repetition is to be judged anew. */
  isKept?: boolean;
}

/** A request that may be sent again. */
export interface Repeatable {
  /** Of the header; undefined where there is none. */
  key: string | undefined;
  /** Whose keys it is one of: a user's id, and of what credential. */
  ownerId: string;
  credential: string;
  method: string;
  path: string;
  body: unknown;
}

/** What `respond` needs of a request. */
export interface Attempt {
  request: Repeatable;
  reply: FastifyReply;
}

/** Says of an answer that it is that of an earlier request. */
export const REPLAYED = 'idempotency-replayed';

const SWEEP_MS = 60_000;

/**
 * `Idempotency-Key`: the first answer is stored in the transaction of the work, and a repetition gets it again for 24
 * hours. Answers are sealed, since some hold what is shown only once, and requests are told apart by a keyed hash, since
 * some hold passwords. Refusals are not kept: they changed nothing, and a repetition is judged anew.
 */
@Injectable()
export class Idempotency implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly seal: Seal;
  private readonly hashKey: Buffer;
  private readonly sweeper: Sweeper;

  constructor(
    private readonly database: Database,
    private readonly answers: IdempotencyRepository,
    secrets: Secrets,
  ) {
    this.seal = new Seal(secrets.derive('idempotency-answer'));
    this.hashKey = secrets.derive('idempotency-request');
    this.sweeper = new Sweeper(SWEEP_MS, async () => {
      await answers.deleteExpired();
      return false;
    });
  }

  /**
   * Does the work of a request once, however often it is sent.
   * @param header its Idempotency-Key
   * @param work gets the transaction that it must write in
   * @throws Problem idempotency_in_progress while the first is running; idempotency_key_reused for another request
   */
  async once(
    header: string,
    request: Repeatable,
    work: (tx: Transaction) => Promise<Answer>,
  ): Promise<Answer & { isReplayed: boolean }> {
    const keyHash = this.hash(request.credential, parseKey(header));
    // Whoever writes the table cannot have somebody else's answer opened as the own.
    const context = `${request.ownerId}:${keyHash.toString('hex')}`;
    const fingerprint = this.hash(
      request.method,
      request.path,
      request.body === undefined ? '' : JSON.stringify(request.body),
    );
    return this.database.transaction(async (tx) => {
      if (!(await this.answers.claim(tx, request.ownerId, keyHash))) {
        throw new Problem('idempotency_in_progress', { retryAfter: 1 });
      }
      const stored = await this.answers.find(tx, request.ownerId, keyHash);
      if (stored) {
        if (!stored.fingerprint.equals(fingerprint)) throw new Problem('idempotency_key_reused');
        return { ...this.open(stored.answer, context), isReplayed: true };
      }
      const answer = await work(tx);
      if (answer.isKept !== false) {
        const sealed = this.seal.seal(JSON.stringify(answer), context);
        await this.answers.store(tx, request.ownerId, keyHash, { fingerprint, answer: sealed });
      }
      return { ...answer, isReplayed: false };
    });
  }

  private open(sealed: Buffer, context: string): Answer {
    try {
      return JSON.parse(this.seal.open(sealed, context).toString()) as Answer;
    } catch {
      // Kept before an upgrade, when answers were sealed for no request of their own: a day later there are none.
      return JSON.parse(this.seal.open(sealed).toString()) as Answer;
    }
  }

  /** `once` for a route whose answer is the JSON of what `work` resolves with. */
  async respond<T extends object>({ request, reply }: Attempt, work: (tx?: Transaction) => Promise<T>): Promise<T> {
    if (request.key === undefined) return work();
    const { body, isReplayed } = await this.once(request.key, request, async (tx) => ({
      body: JSON.stringify(await work(tx)),
    }));
    if (isReplayed) reply.header(REPLAYED, 'true');
    return JSON.parse(body) as T;
  }

  onApplicationBootstrap(): void {
    this.sweeper.start();
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.sweeper.stop();
  }

  private hash(...parts: string[]): Buffer {
    const hmac = createHmac('sha256', this.hashKey);
    for (const part of parts) hmac.update(`${Buffer.byteLength(part)}:`).update(part);
    return hmac.digest();
  }
}

/**
 * The key of a header: up to 255 printable characters, quoted (a structured field's string) or not.
 * @throws Problem validation_failed
 */
export function parseKey(header: string): string {
  const text = header.trim();
  const key = /^"(.*)"$/.exec(text)?.[1]?.replace(/\\(["\\])/g, '$1') ?? text;
  if (!/^[\x20-\x7e]{1,255}$/.test(key)) {
    throw Problem.field('/Idempotency-Key', 'must have 1 to 255 printable ASCII characters');
  }
  return key;
}
