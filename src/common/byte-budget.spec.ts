import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { ByteBudget } from './byte-budget.js';

/** A response, as far as it matters here. */
class Response extends EventEmitter {
  closed = false;

  close(): void {
    this.closed = true;
    this.emit('close');
  }
}

const as = (response: Response): ServerResponse => response as unknown as ServerResponse;

describe('a byte budget', () => {
  test('has room until it is used up, and again when a response is over', () => {
    const budget = new ByteBudget(100);
    const first = new Response();
    budget.hold(60, as(first));
    budget.hold(40, as(new Response()));
    expect(() => budget.hold(1, as(new Response()))).toThrow(expect.objectContaining({ code: 'overloaded' }));
    first.close();
    budget.hold(60, as(new Response()));
    expect(() => budget.hold(1, as(new Response()))).toThrow(expect.objectContaining({ code: 'overloaded' }));
  });

  test('lets one that is larger through alone', () => {
    const budget = new ByteBudget(100);
    const large = new Response();
    budget.hold(1_000, as(large));
    expect(() => budget.hold(1, as(new Response()))).toThrow(expect.objectContaining({ code: 'overloaded' }));
    large.close();
    budget.hold(1, as(new Response()));
  });

  test('holds several parts of one response until it is over, and nothing of one that is', () => {
    const budget = new ByteBudget(100);
    const response = new Response();
    budget.hold(50, as(response));
    budget.hold(50, as(response));
    response.close();
    budget.hold(100, as(response));
    budget.hold(100, as(new Response()));
    expect(() => budget.hold(1, as(new Response()))).toThrow(expect.objectContaining({ code: 'overloaded' }));
  });
});
