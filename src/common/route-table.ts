import { Injectable } from '@nestjs/common';
import Router from 'find-my-way';

/** Characters of a path parameter. */
export const MAX_PARAM_LENGTH = 1_024;

/** All routes of the server, to answer 405 with `Allow` where the path exists and the method does not. */
@Injectable()
export class RouteTable {
  private readonly paths = Router({ maxParamLength: MAX_PARAM_LENGTH });
  private readonly methods = new Map<string, Set<string>>();

  /** Learns a route as the web server registers it. */
  add(method: string, pattern: string): void {
    const known = this.methods.get(pattern);
    if (known) {
      known.add(method);
      return;
    }
    const methods = new Set([method]);
    this.methods.set(pattern, methods);
    this.paths.on('GET', pattern, () => undefined, methods);
  }

  /** The methods that a path answers to, sorted; none if there is no such path. */
  methodsOf(path: string): string[] {
    const match = this.paths.find('GET', path);
    // The router matches an empty last segment, which Nest does not serve.
    if (!match || Object.values(match.params).includes('')) return [];
    return [...(match.store as Set<string>)].sort();
  }

  /** Every route, for tests that walk them all. */
  all(): { method: string; pattern: string }[] {
    return [...this.methods].flatMap(([pattern, methods]) => [...methods].map((method) => ({ method, pattern })));
  }
}
