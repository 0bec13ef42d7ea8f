import { createHmac } from 'node:crypto';
import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Problem } from '../common/problem.js';
import { Seal } from '../config/seal.js';
import { Secrets } from '../config/secrets.js';
import { Database, type Transaction } from '../database/database.js';
import { Sweeper } from '../database/sweeper.js';
import { IdempotencyRepository } from './idempotency.repository.js';

/** The response to a request and to its repetitions. */
export interface Answer {
  /** The body as sent. */
  body: string;
  /** False: the request changed nothing; do not store the response, and process a repetition again. */
  isKept?: boolean;
}

/** A request that a client may repeat. */
export interface Repeatable {
  /** The value of the header; undefined if it is missing. */
  key: string | undefined;
  /** The scope of the key: a user id and a credential. */
  ownerId: string;
  credential: string;
  method: string;
  path: string;
  body: unknown;
}

/** The input of `respond`. */
export interface Attempt {
  request: Repeatable;
  reply: FastifyReply;
}

/** The header that marks a stored response to an earlier request. */
export const REPLAYED = 'idempotency-replayed';

const SWEEP_MS = 60_000;

/**
 * `Idempotency-Key`: stores the first response in the transaction of the work, and replays it for 24 hours. Responses
 * are encrypted, because some contain secrets that are shown only once. Requests are compared by a keyed hash, because
 * some contain passwords. Error responses are not stored: the request changed nothing, and a repetition is processed
 * again.
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
   * Runs the work of a request once, however often the request is sent.
   * @param header its Idempotency-Key
   * @param work receives the transaction in which it must write
   * @throws Problem idempotency_in_progress while the first request runs; idempotency_key_reused for another request
   */
  async once(
    header: string,
    request: Repeatable,
    work: (tx: Transaction) => Promise<Answer>,
  ): Promise<Answer & { isReplayed: boolean }> {
    const keyHash = this.hash(request.credential, parseKey(header));
    // Binds the encrypted response to its owner and key, so that a copied row cannot be opened for another user.
    const context = `${request.ownerId}:${keyHash.toString('hex')}`;
    const fingerprint = this.hash(
      request.method,
      request.path,
      request.body === undefined ? '' : JSON.stringify(request.body),
    );
    return this.database.transaction(async (tx) => {
      const isClaimed = await this.answers.claim(tx, request.ownerId, keyHash);
      const stored = await this.answers.find(tx, request.ownerId, keyHash);
      if (stored) {
        if (!stored.fingerprint.equals(fingerprint)) throw new Problem('idempotency_key_reused');
        const answer = JSON.parse(this.seal.open(stored.answer, context).toString()) as Answer;
        return { ...answer, isReplayed: true };
      }
      // Another replay also holds the key, but then the response is stored.
      if (!isClaimed) throw new Problem('idempotency_in_progress', { retryAfter: 1 });
      const answer = await work(tx);
      if (answer.isKept !== false) {
        const sealed = this.seal.seal(JSON.stringify(answer), context);
        await this.answers.store(tx, request.ownerId, keyHash, { fingerprint, answer: sealed });
      }
      return { ...answer, isReplayed: false };
    });
  }

  /** Like `once`, for a route whose response is the JSON of the result of `work`. Without a key it only runs `work`. */
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
 * Reads the key from the header: up to 255 printable characters, quoted (a structured field string) or not.
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
