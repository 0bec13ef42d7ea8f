import { answer } from '../../../api/answer';
import { api } from '../../../api/client';
import { ApiProblem, isTransient } from '../../../api/problem';
import { retryDelay } from '../../../api/query-client';
import type { UserRow } from './user-rows';

/** Requests at a time. A sign-up hashes a password, which takes the server long. */
const CONCURRENCY = 4;

export interface Progress {
  /** The lines that have become users. */
  created: UserRow[];
  refused: { row: UserRow; problem: ApiProblem }[];
  /** Set while the server does not answer: the run goes on by itself. */
  waitsFor?: string | undefined;
}

/**
 * Creates the users one after the other, a few at a time. Each has an idempotency key of its own, so that a line that was
 * sent without an answer is not created twice.
 */
export class ImportRun {
  private next = 0;
  private readonly idempotency = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36));
  private gate = Promise.resolve();
  private open: (() => void) | undefined;
  private isStopped = false;
  private progress: Progress = { created: [], refused: [] };

  constructor(
    private readonly rows: UserRow[],
    private readonly report: (progress: Progress) => void,
  ) {}

  async run(): Promise<void> {
    await Promise.all(Array.from({ length: CONCURRENCY }, () => this.work()));
  }

  setPaused(isPaused: boolean): void {
    this.open?.();
    this.open = undefined;
    this.gate = isPaused ? new Promise((resolve) => (this.open = resolve)) : Promise.resolve();
  }

  /** Lets the requests that are sent end, and sends no more. */
  stop(): void {
    this.isStopped = true;
    this.setPaused(false);
  }

  private async work(): Promise<void> {
    for (;;) {
      await this.gate;
      const row = this.rows[this.next++];
      if (row === undefined || this.isStopped) return;
      await this.create(row);
    }
  }

  private async create(row: UserRow): Promise<void> {
    const header = { 'Idempotency-Key': `${this.idempotency.join('')}-${String(row.line)}` };
    for (let failures = 0; ; failures++) {
      try {
        await answer(api.POST('/v1/users', { body: row.body, params: { header } }));
        this.update({ created: [...this.progress.created, row], waitsFor: undefined });
        return;
      } catch (error) {
        if (error instanceof ApiProblem && !isTemporary(error)) {
          this.update({ refused: [...this.progress.refused, { row, problem: error }], waitsFor: undefined });
          return;
        }
        if (!(error instanceof ApiProblem) && !isTransient(error)) throw error;
        this.update({ waitsFor: error instanceof Error ? error.message : String(error) });
        await new Promise((resolve) => setTimeout(resolve, retryDelay(failures, error)));
        if (this.isStopped) return;
      }
    }
  }

  private update(part: Partial<Progress>): void {
    this.progress = { ...this.progress, ...part };
    this.report(this.progress);
  }
}

/** Whether the same request succeeds later: overload, a database that is away, a request that still runs. */
function isTemporary(problem: ApiProblem): boolean {
  return isTransient(problem) || problem.status === 429 || problem.code === 'idempotency_in_progress';
}
