import { availableParallelism } from 'node:os';
import { Injectable } from '@nestjs/common';
import { hash, verify, type Options } from '@node-rs/argon2';
import { Problem } from '../common/problem.js';
import { Env } from '../config/env.js';
import { HashQueue, type Turn } from './hash-queue.js';
import { passwordFaults } from './password-policy.js';

/** Hashes that may wait for each that runs; beyond it sign-in answers 503 instead of piling up. */
const WAITING_PER_LANE = 128;

/**
 * Password hashes: argon2id (the library's default), by default as the OWASP Password Storage Cheat Sheet has it: 19 MiB,
 * two passes, one lane. As many at once as there are cores, shared out among the worker processes.
 */
@Injectable()
export class Passwords {
  private readonly options: Options;
  private readonly queue: HashQueue;
  private decoy: Promise<string> | undefined;

  constructor(private readonly env: Env) {
    this.options = { memoryCost: env.argon2Memory, timeCost: env.argon2Passes, parallelism: 1 };
    const lanes = Math.max(1, Math.floor(availableParallelism() / env.workers));
    this.queue = new HashQueue(lanes, lanes * WAITING_PER_LANE);
  }

  /**
   * Checks a new password against the policy and hashes it.
   * @param pointer the member of the body that a refusal names
   * @throws Problem validation_failed with each rule that is broken; overloaded when too many hashes wait
   */
  async hashNew(password: string, pointer: string, turn: Turn): Promise<string> {
    const faults = await passwordFaults(password, this.env.passwordPolicy);
    if (faults.length > 0) {
      throw new Problem('validation_failed', { errors: faults.map((detail) => ({ pointer, detail })) });
    }
    return this.queue.run(turn, () => hash(password, this.options));
  }

  /**
   * Whether a password belongs to a hash. Without a hash (unknown login) the same work is done for nothing, so that
   * the time of an answer does not tell whether an account exists. For whoever has a turn.
   */
  async matches(password: string, passwordHash: string | undefined): Promise<boolean> {
    const decoy = await (this.decoy ??= hash('decoy', this.options));
    const matches = await verify(passwordHash ?? decoy, password);
    return matches && passwordHash !== undefined;
  }

  /** The hash as it would be made now, where it was made otherwise; undefined where nothing is to be done. */
  async renewed(password: string, passwordHash: string, turn: Turn): Promise<string | undefined> {
    const { memoryCost = 0, timeCost = 0, parallelism = 0 } = this.options;
    // The PHC string format.
    const isCurrent = passwordHash.startsWith(`$argon2id$v=19$m=${memoryCost},t=${timeCost},p=${parallelism}$`);
    return isCurrent ? undefined : this.queue.run(turn, () => hash(password, this.options));
  }

  /** Works when as few others do as there are cores. @throws Problem overloaded when too many wait */
  inTurn<T>(turn: Turn, work: () => Promise<T>): Promise<T> {
    return this.queue.run(turn, work);
  }
}
