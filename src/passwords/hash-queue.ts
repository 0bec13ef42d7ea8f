import type { Origin } from '../http/caller/caller.js';
import { placeOf } from '../common/place.js';
import { Problem } from '../common/problem.js';

/** Whom a hash is made for. */
export interface Turn {
  /** The place that the request comes from, see `placeOf`. */
  place: string;
  /** Whether the place is known to belong to the account. Known places come first. */
  isKnown: boolean;
}

/** @param isKnown whether the client is signed in or has a token */
export function turnOf(origin: Pick<Origin, 'ip'> | null, isKnown: boolean): Turn {
  return { place: placeOf(origin?.ip ?? null), isKnown };
}

interface Waiter {
  start: () => void;
  refuse: (problem: Problem) => void;
}

/** A stranger gets one of this many turns, if one waits. */
const STRANGERS_TURN = 3;

/** The waiters of each place. The first place is next. */
type Ring = Map<string, Waiter[]>;

/**
 * The queue of password hashes, each of which takes some milliseconds of a core. It is fair among places: a place with
 * many requests delays only itself (deficit round robin with equal costs, Shreedhar and Varghese, 1995). Known places
 * get two of three turns before strangers, so that a flood of strangers does not lock them out. They do not get all
 * turns, because every account is known somewhere.
 */
export class HashQueue {
  private readonly known: Ring = new Map();
  private readonly strangers: Ring = new Map();
  private running = 0;
  private waiting = 0;
  private turns = 0;

  /**
   * @param lanes maximum number of hashes that run at once
   * @param most maximum number of waiters
   */
  constructor(
    private readonly lanes: number,
    private readonly most: number,
  ) {}

  /** Runs work when its turn comes. @throws Problem overloaded when too many wait and none of them has to give way */
  async run<T>(turn: Turn, work: () => Promise<T>): Promise<T> {
    if (this.running >= this.lanes) await this.wait(turn);
    else this.running++;
    try {
      return await work();
    } finally {
      this.running--;
      this.startNext();
    }
  }

  private wait({ place, isKnown }: Turn): Promise<void> {
    const ring = isKnown ? this.known : this.strangers;
    if (this.waiting >= this.most && !this.makeRoom(ring, place)) return Promise.reject(tooMany());
    return new Promise((start, refuse) => {
      const waiter = { start, refuse };
      const queue = ring.get(place);
      if (queue) queue.push(waiter);
      else ring.set(place, [waiter]);
      this.waiting++;
    });
  }

  /**
   * Rejects the last waiter of the place with the most waiters, if it has to give way to a place with fewer, or as a
   * stranger to a known place.
   * @returns whether a waiter was rejected
   */
  private makeRoom(ring: Ring, place: string): boolean {
    const giving = ring === this.known && this.strangers.size > 0 ? this.strangers : ring;
    let longest: [place: string, queue: Waiter[]] | undefined;
    for (const each of giving) if (!longest || each[1].length > longest[1].length) longest = each;
    if (!longest) return false;
    const [at, queue] = longest;
    if (giving === ring && queue.length <= (ring.get(place)?.length ?? 0) + 1) return false;
    queue.pop()?.refuse(tooMany());
    if (queue.length === 0) giving.delete(at);
    this.waiting--;
    return true;
  }

  private startNext(): void {
    const isOfStrangers = ++this.turns % STRANGERS_TURN === 0;
    for (const ring of isOfStrangers ? [this.strangers, this.known] : [this.known, this.strangers]) {
      const next = ring.entries().next().value;
      if (!next) continue;
      const [place, queue] = next;
      const waiter = queue.shift();
      // If more wait at this place, it moves to the end of the ring.
      ring.delete(place);
      if (queue.length > 0) ring.set(place, queue);
      this.waiting--;
      this.running++;
      waiter?.start();
      return;
    }
  }
}

function tooMany(): Problem {
  return new Problem('overloaded', { retryAfter: 1 });
}
