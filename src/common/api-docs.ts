import { ApiExtraModels, ApiProperty, ApiResponse, getSchemaPath } from '@nestjs/swagger';
import { PROBLEMS, type ProblemCode } from './problem.js';

/** One wrong field. */
export class FieldErrorBody {
  @ApiProperty({ description: 'JSON pointer into the body, or the name of the parameter', example: '/password' })
  pointer!: string;

  @ApiProperty({ description: 'What is wrong with it', example: 'must have an upper-case letter' })
  detail!: string;
}

/** A refusal: RFC 9457, problem details. Branch on `code`, which is stable; the texts are for people. */
export class ProblemBody {
  @ApiProperty({ example: 'about:blank', description: 'Always `about:blank`: `code` tells the kind' })
  type!: string;

  @ApiProperty({ example: 'The quota is used up' })
  title!: string;

  @ApiProperty({ example: 403, description: 'The HTTP status' })
  status!: number;

  @ApiProperty({ example: '50 of 50 resources are in use.' })
  detail!: string;

  @ApiProperty({ example: '/v1/resources', description: 'The path that was asked for' })
  instance!: string;

  @ApiProperty({ enum: Object.keys(PROBLEMS), example: 'quota_exceeded', description: 'Stable: branch on this' })
  code!: ProblemCode;

  @ApiProperty({ example: '7Qm0aXk-2b', description: 'Also in `X-Request-Id` and in the log' })
  requestId!: string;

  @ApiProperty({ type: [FieldErrorBody], required: false, description: 'With `validation_failed`: each wrong field' })
  errors?: FieldErrorBody[];
}

const FAILS = 'quartermaster:fails';

/**
 * Documents that a route can refuse with these codes. May be given several times on one route;
 * codes of one status become the examples of one response.
 */
export function Fails(...codes: ProblemCode[]): MethodDecorator {
  return (target, key, descriptor) => {
    const handler = descriptor.value as object;
    const all = new Set([...((Reflect.getMetadata(FAILS, handler) as ProblemCode[] | undefined) ?? []), ...codes]);
    Reflect.defineMetadata(FAILS, [...all], handler);
    ApiExtraModels(ProblemBody)(target, key, descriptor);
    for (const status of new Set(codes.map((code) => PROBLEMS[code][0]))) {
      const same = [...all].filter((code) => PROBLEMS[code][0] === status);
      ApiResponse({
        status,
        description: same.map((code) => `\`${code}\`: ${PROBLEMS[code][1]}`).join('. '),
        content: {
          'application/problem+json': {
            schema: { $ref: getSchemaPath(ProblemBody) },
            examples: Object.fromEntries(same.map((code) => [code, { value: exampleOf(code) }])),
          },
        },
      })(target, key, descriptor);
    }
  };
}

function exampleOf(code: ProblemCode): Partial<ProblemBody> {
  const [status, title] = PROBLEMS[code];
  return { type: 'about:blank', title, status, detail: title, instance: '/v1/…', code, requestId: '7Qm0aXk-2b' };
}
