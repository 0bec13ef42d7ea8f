import { Injectable } from '@nestjs/common';
import Router from 'find-my-way';

/** Maximum length of a path parameter. The longest store key, with every byte percent-encoded, has 1,536 characters. */
export const MAX_PARAM_LENGTH = 2_048;

/** All routes of the server, for 405 with `Allow` if the path exists but not with this method. */
@Injectable()
export class RouteTable {
  private readonly paths = Router({ maxParamLength: MAX_PARAM_LENGTH });
  /** Only the paths with parameters: `/store/write` also matches `/store/:key`. */
  private readonly patterns = Router({ maxParamLength: MAX_PARAM_LENGTH });
  private readonly methods = new Map<string, Set<string>>();

  /** Adds a route when the web server registers it. */
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

  /** Returns the methods of a path, sorted; empty if the path does not exist. */
  methodsOf(path: string): string[] {
    const methods = [this.paths, this.patterns].flatMap((router) => {
      const match = router.find('GET', path);
      // The router matches an empty last segment, which is not served.
      return !match || Object.values(match.params).includes('') ? [] : [...(match.store as Set<string>)];
    });
    return [...new Set(methods)].sort();
  }

  /** Returns every route, for tests. */
  all(): { method: string; pattern: string }[] {
    return [...this.methods].flatMap(([pattern, methods]) => [...methods].map((method) => ({ method, pattern })));
  }
}
