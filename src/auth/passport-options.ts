import { randomUUID } from 'node:crypto';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import passport from 'passport';
import { JwtStrategy } from './jwt.strategy.js';
import { SignatureStrategy } from './signature.strategy.js';

/**
 * Options of `AuthGuard()`: the strategies of this application, tried in this order. Passport registers strategies for
 * the whole process, and a process can run several applications (the tests do), so their names are unique per
 * application. Otherwise an application would authenticate with the database of the last one created.
 */
@Injectable()
export class PassportOptions implements OnApplicationShutdown {
  readonly #names: string[];

  constructor(jwt: JwtStrategy, signature: SignatureStrategy) {
    const application = randomUUID();
    this.#names = Object.entries({ jwt, signature }).map(([kind, strategy]) => {
      const name = `${kind}-${application}`;
      passport.use(name, strategy);
      return name;
    });
  }

  // Not a field: Passport's guard copies the fields of its options for each request. That takes as long as its other
  // work.
  get defaultStrategy(): string[] {
    return this.#names;
  }

  onApplicationShutdown(): void {
    for (const name of this.defaultStrategy) passport.unuse(name);
  }
}
