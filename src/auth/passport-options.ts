import { randomUUID } from 'node:crypto';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { AuthModuleOptions } from '@nestjs/passport';
import passport from 'passport';
import type { Caller } from '../http/caller/caller.js';
import { JwtStrategy } from './jwt.strategy.js';
import { SignatureStrategy } from './signature.strategy.js';

/**
 * Options of `AuthGuard()`: the strategies of this application, tried in this order. Passport registers strategies for
 * the whole process, and a process can run several applications (the tests do), so their names are unique per
 * application. Otherwise an application would authenticate with the database of the last one created.
 */
@Injectable()
export class PassportOptions extends AuthModuleOptions implements OnApplicationShutdown {
  override readonly property = 'caller' satisfies keyof { caller: Caller };
  override readonly session = false;
  override readonly defaultStrategy: string[];

  constructor(jwt: JwtStrategy, signature: SignatureStrategy) {
    super();
    const application = randomUUID();
    this.defaultStrategy = Object.entries({ jwt, signature }).map(([kind, strategy]) => {
      const name = `${kind}-${application}`;
      passport.use(name, strategy);
      return name;
    });
  }

  onApplicationShutdown(): void {
    for (const name of this.defaultStrategy) passport.unuse(name);
  }
}
