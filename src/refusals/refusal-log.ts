import { Injectable } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { Flusher } from '../common/flusher.js';
import type { Call, Spend } from '../quota/calls/spender.js';
import { RefusalsRepository, type RefusalRow } from './refusals.repository.js';

const FLUSH_MS = 1_000;

/** Maximum number of unwritten refusals of an owner, so that a flood of calls writes a bounded number of rows. */
export const MAX_OF_OWNER = 20;

/** Maximum number of unwritten refusals of all owners. */
const MAX = 500;

/** Rows that a process writes for an owner before it deletes those beyond the last thousand. */
const TRIM_AFTER = 200;

/** Maximum number of owners whose rows are counted for this. */
const MAX_COUNTED = 100_000;

/** A refusal that is not written yet. Its limits are listed when it is written, because most of a flood are not. */
interface Recorded {
  id: string;
  requestId: string;
  call: Call;
  spend: Spend;
}

/**
 * Collects refused calls in memory and writes them each second and at shutdown. They are telemetry: a killed process
 * loses its last second, and of many refusals of an owner in one second only the last ones are kept.
 */
@Injectable()
export class RefusalLog {
  private readonly flusher = new Flusher(FLUSH_MS, () => this.write());
  private unwritten = new Map<string, Recorded[]>();
  private count = 0;
  /** Rows written for each owner since its last trim. */
  private readonly written = new Map<string, number>();

  constructor(private readonly refusals: RefusalsRepository) {}

  /** Records a refused call if the owner of its key is known. */
  record(requestId: string, call: Call, spend: Spend): void {
    const { ownerId } = spend.said;
    if (ownerId !== null) this.add(ownerId, { id: uuidv7(), requestId, call, spend });
  }

  start(): void {
    this.flusher.start();
  }

  /** Writes the remaining refusals and stops. Call it when no request is in progress. */
  stop(): Promise<void> {
    return this.flusher.stop();
  }

  /** Resolves when all refusals so far are written, or the write has failed. Never rejects. */
  flush(): Promise<void> {
    return this.flusher.flush();
  }

  private add(ownerId: string, refusal: Recorded): void {
    const own = this.unwritten.get(ownerId);
    const isFull = this.count >= MAX;
    if (own) {
      own.push(refusal);
      if (isFull || own.length > MAX_OF_OWNER) own.shift();
      else this.count++;
    } else if (!isFull) {
      this.unwritten.set(ownerId, [refusal]);
      this.count++;
    }
  }

  private take(): Map<string, Recorded[]> {
    const { unwritten } = this;
    this.unwritten = new Map();
    this.count = 0;
    return unwritten;
  }

  private async write(): Promise<void> {
    const taken = this.take();
    if (taken.size === 0) return;
    const rows = [...taken].flatMap(([ownerId, own]) => own.map((refusal) => toRow(ownerId, refusal)));
    try {
      await this.refusals.insert(rows, this.ownersToTrim(taken));
    } catch {
      const newer = this.take();
      for (const batch of [taken, newer]) {
        for (const [ownerId, own] of batch) for (const refusal of own) this.add(ownerId, refusal);
      }
    }
  }

  /** Counts the rows of each owner. @returns owners that can have many more rows than are kept */
  private ownersToTrim(taken: ReadonlyMap<string, Recorded[]>): string[] {
    if (this.written.size > MAX_COUNTED) this.written.clear();
    return [...taken].flatMap(([ownerId, { length }]) => {
      const count = (this.written.get(ownerId) ?? 0) + length;
      this.written.set(ownerId, count < TRIM_AFTER ? count : 0);
      return count < TRIM_AFTER ? [] : [ownerId];
    });
  }
}

function toRow(ownerId: string, { id, requestId, call, spend }: Recorded): RefusalRow {
  const { keyId, moment } = spend.said;
  return {
    ...{ ownerId, id, requestId, keyId: keyId ?? '', code: spend.code, cost: call.cost },
    at: new Date(moment),
    api: call.slug === '' ? null : call.slug,
    limits: spend.limitResponses,
  };
}
