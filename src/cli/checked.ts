import type { Type } from '@nestjs/common';
import type { Env } from '../config/env.js';
import { RequestValidationPipe } from '../http/validation.pipe.js';

/** Validates a value as the body of a request. @throws Problem validation_failed */
export async function checked<T extends object>(env: Env, dto: Type<T>, value: unknown): Promise<T> {
  return (await new RequestValidationPipe(env).transform(value, { type: 'body', metatype: dto })) as T;
}
