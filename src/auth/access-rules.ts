import { Injectable, type ExecutionContext } from '@nestjs/common';
import { RouteParamtypes } from '@nestjs/common/enums/route-paramtypes.enum.js';
import { ROUTE_ARGS_METADATA } from '@nestjs/common/constants.js';
import { ACCESS_RULE, type AccessRule } from '../http/caller/access.js';
import { CONDITIONAL } from '../http/conditional/etag.js';

/** The declarations of a route. */
export interface RouteRule {
  /** If undefined, the route denies every request. */
  access: AccessRule | undefined;
  /** Whether it declares query parameters. If not, it rejects any query parameter. */
  takesQuery: boolean;
  /** Whether it evaluates `If-Match`. */
  isConditional: boolean;
}

type Handler = ReturnType<ExecutionContext['getHandler']>;

/** Reads the declarations of each route once. */
@Injectable()
export class AccessRules {
  private readonly known = new WeakMap<Handler, RouteRule>();

  of(context: ExecutionContext): RouteRule {
    const handler = context.getHandler();
    const known = this.known.get(handler);
    if (known) return known;
    const rule = read(handler, context.getClass());
    this.known.set(handler, rule);
    return rule;
  }
}

function read(handler: Handler, controller: ReturnType<ExecutionContext['getClass']>): RouteRule {
  const params = Object.keys(
    (Reflect.getMetadata(ROUTE_ARGS_METADATA, controller, handler.name) as object | undefined) ?? {},
  );
  return {
    // Reads the handler only: a rule on the class would silently apply to a route that declares none.
    access: Reflect.getMetadata(ACCESS_RULE, handler) as AccessRule | undefined,
    takesQuery: params.some((key) => key.startsWith(`${String(RouteParamtypes.QUERY)}:`)),
    isConditional: Reflect.getMetadata(CONDITIONAL, handler) === true,
  };
}
