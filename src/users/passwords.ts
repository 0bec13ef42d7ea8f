import { availableParallelism } from 'node:os';
import { Injectable } from '@nestjs/common';
import { hash, verify, type Options } from '@node-rs/argon2';
import pLimit from 'p-limit';
import { Problem } from '../common/problem.js';
import { Env } from '../config/env.js';
import { passwordFaults } from './password-policy.js';

/** OWASP Password Storage Cheat Sheet: argon2id (the library's default), 19 MiB, two passes, one lane. */
const ARGON2: Options = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };

/** Hashes that may wait for each that runs; beyond it sign-in answers 503 instead of piling up. */
const WAITING_PER_LANE = 128;

/** Password hashes: argon2id, as many at once as there are cores, shared out among the worker processes. */
@Injectable()
export class Passwords {
  private readonly lanes: number;
  private readonly queue: ReturnType<typeof pLimit>;
  private decoy: Promise<string> | undefined;

  constructor(private readonly env: Env) {
    this.lanes = Math.max(1, Math.floor(availableParallelism() / env.workers));
    this.queue = pLimit(this.lanes);
  }

  /**
   * Checks a new password against the policy and hashes it.
   * @param pointer the member of the body that a refusal names
   * @throws Problem validation_failed with each rule that is broken; overloaded when too many hashes wait
   */
  async hashNew(password: string, pointer: string): Promise<string> {
    const faults = await passwordFaults(password, this.env.passwordPolicy);
    if (faults.length > 0) {
      throw new Problem('validation_failed', { errors: faults.map((detail) => ({ pointer, detail })) });
    }
    return this.enqueue(() => hash(password, ARGON2));
  }

  /**
   * Whether a password belongs to a hash. Without a hash (unknown login) the same work is done for nothing, so that
   * the time of an answer does not tell whether an account exists.
   * @throws Problem overloaded when too many hashes wait
   */
  async matches(password: string, passwordHash: string | undefined): Promise<boolean> {
    if (passwordHash !== undefined) return this.enqueue(() => verify(passwordHash, password));
    const decoy = await (this.decoy ??= this.enqueue(() => hash('decoy', ARGON2)));
    await this.enqueue(() => verify(decoy, password));
    return false;
  }

  private enqueue<T>(work: () => Promise<T>): Promise<T> {
    if (this.queue.pendingCount >= this.lanes * WAITING_PER_LANE) {
      return Promise.reject(new Problem('overloaded', { retryAfter: 1 }));
    }
    return this.queue(work);
  }
}
