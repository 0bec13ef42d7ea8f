import { Injectable } from '@nestjs/common';
import Router from 'find-my-way';

/** Characters of a path parameter: the longest key of the store, every byte of it percent-encoded, has 1,536. */
export const MAX_PARAM_LENGTH = 2_048;

/** All routes of the server, to answer 405 with `Allow` where the path exists and the method does not. */
@Injectable()
export class RouteTable {
  private readonly paths = Router({ maxParamLength: MAX_PARAM_LENGTH });
  /** Those with parameters once more, alone: `/store/write` is also a key of the store. */
  private readonly patterns = Router({ maxParamLength: MAX_PARAM_LENGTH });
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
    if (/[:*]/.test(pattern)) this.patterns.on('GET', pattern, () => undefined, methods);
  }

  /** The methods that a path answers to, sorted; none if there is no such path. */
  methodsOf(path: string): string[] {
    const methods = [this.paths, this.patterns].flatMap((router) => {
      const match = router.find('GET', path);
      // The router matches an empty last segment, which is not served.
      return !match || Object.values(match.params).includes('') ? [] : [...(match.store as Set<string>)];
    });
    return [...new Set(methods)].sort();
  }

  /** Every route, for tests that walk them all. */
  all(): { method: string; pattern: string }[] {
    return [...this.methods].flatMap(([pattern, methods]) => [...methods].map((method) => ({ method, pattern })));
  }
}
