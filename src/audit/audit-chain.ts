import { createHmac, timingSafeEqual } from 'node:crypto';
import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { Secrets } from '../config/secrets.js';
import { Database } from '../database/database.js';
import { Sweeper } from '../database/sweeper.js';
import { AuditRepository, type SealableEntry, type SealedEntry } from './audit.repository.js';

/** What is wrong with the chain: its first link that does not fit. */
export interface Fault {
  /** The entry's id; null where nothing of it is left. */
  id: string | null;
  position: number;
  fault: 'altered' | 'removed';
}

export interface Verdict {
  /** Entries in the chain. */
  sealed: number;
  /** The last link's hash, in hex; null while there is none. */
  head: string | null;
  /** Entries that are not in it yet: those of the last second. */
  unsealed: number;
  first: Fault | null;
}

interface Head {
  position: bigint;
  hash: Buffer;
}

const SEAL_MS = 1_000;

/** Entries sealed at once, and links read at once. */
const BATCH = 500;

const BEGINNING: Head = { position: 0n, hash: Buffer.alloc(32) };

/**
 * The chain over the audit log: each second one process seals what has been committed, each entry with the hash of the
 * one before (Haber and Stornetta, 1991). The hash is keyed with SECRET_KEY: who can write the tables but has not the key
 * cannot alter or remove a sealed entry unseen. The last links can be cut off together with their entries: a process
 * notices what it has seen, and an operator who notes the head elsewhere can ask for it.
 */
@Injectable()
export class AuditChain implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly key: Buffer;
  private readonly sweeper: Sweeper;
  /** The furthest link that this process has seen. */
  private seen = BEGINNING;

  constructor(
    private readonly database: Database,
    private readonly entries: AuditRepository,
    secrets: Secrets,
  ) {
    this.key = secrets.derive('audit-chain');
    this.sweeper = new Sweeper(SEAL_MS, () => this.seal());
  }

  /** Seals what is committed, of so many entries at most. @returns whether there is more to do */
  async seal(): Promise<boolean> {
    if (!(await this.entries.hasUnsealed())) return false;
    let head: Head | undefined;
    const count = await this.database.transaction(async (tx) => {
      // Another process is at it.
      if (!(await this.entries.lock(tx))) return 0;
      const last = await this.entries.head(tx);
      head = last ? { position: BigInt(last.position), hash: last.hash } : BEGINNING;
      const unsealed = await this.entries.unsealed(tx, BATCH);
      const seals = unsealed.map((entry) => {
        const previous = head ?? BEGINNING;
        const position = previous.position + 1n;
        head = { position, hash: this.hash(previous.hash, position, entry) };
        return { position: position.toString(), entryId: entry.id, hash: head.hash };
      });
      if (seals.length > 0) await this.entries.seal(tx, seals);
      return seals.length;
    });
    if (head) this.note(head);
    return count === BATCH;
  }

  /** Walks the whole chain. @param known a head that was noted earlier, which must be in it */
  async verify(known?: Buffer): Promise<Verdict> {
    // What this process has seen by now must be there.
    const { seen } = this;
    let last = BEGINNING;
    let first: Fault | null = null;
    let sealed = 0;
    for await (const links of this.entries.chain(BATCH)) {
      for (const link of links) {
        first ??= await this.faultOf(link, last, seen);
        last = { position: BigInt(link.position), hash: link.hash };
        sealed++;
      }
    }
    first ??= await this.faultAtEnd(last, seen);
    if (!first && known && !(await this.entries.hasHash(known))) {
      first = { id: null, position: Number(last.position + 1n), fault: 'removed' };
    }
    if (!first) this.note(last);
    const unsealed = await this.entries.countUnsealed();
    return { sealed, head: sealed > 0 ? last.hash.toString('hex') : null, unsealed, first };
  }

  onApplicationBootstrap(): void {
    this.sweeper.start(true);
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.sweeper.stop();
  }

  /** What is wrong with a link that comes after `last`. */
  private async faultOf(link: SealedEntry, last: Head, seen: Head): Promise<Fault | null> {
    const expected = last.position + 1n;
    const position = BigInt(link.position);
    if (position !== expected) {
      return { id: await this.entries.findAt(expected.toString()), position: Number(expected), fault: 'removed' };
    }
    const at = { id: link.entryId, position: Number(position) };
    if (!link.entry) return { ...at, fault: 'removed' };
    const hash = this.hash(last.hash, position, link.entry);
    if (hash.length !== link.hash.length || !timingSafeEqual(hash, link.hash)) return { ...at, fault: 'altered' };
    return position === seen.position && !seen.hash.equals(link.hash) ? { ...at, fault: 'altered' } : null;
  }

  /** What is missing behind the last link. */
  private async faultAtEnd(last: Head, seen: Head): Promise<Fault | null> {
    if (last.position < seen.position) {
      const position = last.position + 1n;
      return { id: await this.entries.findAt(position.toString()), position: Number(position), fault: 'removed' };
    }
    // Sealed while the chain was read, perhaps.
    const beyond = await this.entries.findBeyond(last.position.toString());
    if (!beyond || (await this.entries.isSealed(beyond))) return null;
    return { id: beyond.id, position: Number(last.position + 1n), fault: 'removed' };
  }

  private note(head: Head): void {
    if (head.position > this.seen.position) this.seen = head;
  }

  private hash(previous: Buffer, position: bigint, entry: SealableEntry): Buffer {
    const { id, at, actorId, action, target, changes, requestId, ip } = entry;
    return createHmac('sha256', this.key)
      .update(previous)
      .update(JSON.stringify([position.toString(), id, at, actorId, action, target, changes, requestId, ip]))
      .digest();
  }
}
