import { STATUS_CODES } from 'node:http';
import { applyDecorators } from '@nestjs/common';
import { ApiExtension, ApiExtraModels, ApiProperty, getSchemaPath } from '@nestjs/swagger';
import { HEADERS, headers, type Operation, type Response } from './api-headers.js';
import { PROBLEMS, type ProblemCode } from '../../common/problem.js';

/** One invalid field. */
export class FieldErrorBody {
  @ApiProperty({
    description: 'JSON pointer into the body; for a parameter or a header, `/` and its name',
    example: '/password',
  })
  pointer!: string;

  @ApiProperty({ description: 'Why it is invalid', example: 'must have an upper-case letter (A–Z)' })
  detail!: string;
}

/** An array of a model of another module, by name: importing the module here would break the direction of imports. */
const listOf = (model: string) =>
  ({ required: false, type: 'array', items: { $ref: `#/components/schemas/${model}` } }) as const;

/** An error response: RFC 9457, problem details. Branch on `code`, which is stable; the texts are for people. */
export class ProblemBody {
  @ApiProperty({ example: 'about:blank', description: 'Always `about:blank`; see `code` for the kind of problem' })
  type!: string;

  @ApiProperty({ example: 'The quota is used up' })
  title!: string;

  @ApiProperty({ type: 'integer', example: 403, description: 'The HTTP status' })
  status!: number;

  @ApiProperty({ example: '50 of 50 resources are in use.' })
  detail!: string;

  @ApiProperty({ example: '/v1/resources', description: 'The path of the request' })
  instance!: string;

  @ApiProperty({ enum: Object.keys(PROBLEMS), example: 'quota_exceeded', description: 'Stable: branch on this' })
  code!: ProblemCode;

  @ApiProperty({ example: '7f3a90c1-2b', description: 'Also in `X-Request-Id` and in the log' })
  requestId!: string;

  @ApiProperty({ type: [FieldErrorBody], required: false, description: 'With `validation_failed`: each invalid field' })
  errors?: FieldErrorBody[];

  @ApiProperty({
    ...listOf('LimitResponse'),
    description: 'With `quota_exceeded`: the limits that the request would exceed',
  })
  violated?: unknown[];

  @ApiProperty({ ...listOf('LimitResponse'), description: 'With `quota_exceeded`: every limit that was checked' })
  limits?: unknown[];

  @ApiProperty({ required: false, type: [String], description: 'With `keys_not_found`: the missing keys' })
  missing?: string[];

  @ApiProperty({ ...listOf('EntryResult'), description: 'For a rejected batch: the result of each entry' })
  results?: unknown[];

  @ApiProperty({ required: false, type: 'integer', description: 'For a rejected batch: the number of entries written' })
  written?: number;

  @ApiProperty({
    required: false,
    type: 'integer',
    description: 'For a rejected batch: the number of entries that already exist',
  })
  skipped?: number;

  @ApiProperty({
    required: false,
    type: [String],
    description: 'For a rejected batch: one sentence for each skipped entry',
  })
  warnings?: string[];
}

/** Prefix of the extensions that hold an operation's problem codes while the document is built. */
const MARK = 'x-problem-' as const;

/** Documents that a route can return these problem codes. May be used several times on one route. */
export function Fails(...codes: ProblemCode[]): MethodDecorator {
  return applyDecorators(ApiExtraModels(ProblemBody), ...codes.map((code) => ApiExtension(...markOf(code))));
}

/** The extension that `Fails` adds to an operation. @param status if it differs from the code's usual status */
export function markOf(code: ProblemCode, status: number = PROBLEMS[code][0]): [`x-problem-${ProblemCode}`, number] {
  return [`${MARK}${code}`, status];
}

/**
 * Adds a response for each problem status of an operation, with one example per code. The problems that every operation
 * can return need no declaration: unknown parameters, and a body that is malformed, too large, or of another type.
 * @param examples the examples of the whole document, by name; missing ones are added
 */
export function documentProblems(operation: Operation, examples: Record<string, object>): void {
  const marks = Object.keys(operation).filter((key): key is `x-problem-${ProblemCode}` => key.startsWith(MARK));
  const codes = new Map(marks.map((mark) => [mark.slice(MARK.length) as ProblemCode, operation[mark] as number]));
  for (const mark of marks) Reflect.deleteProperty(operation, mark);
  for (const code of ['validation_failed', 'internal_error', ...(takesJson(operation) ? BODY_PROBLEMS : [])] as const) {
    codes.set(code, PROBLEMS[code][0]);
  }
  for (const [status, response] of Object.entries(operation.responses)) {
    if (response && 'description' in response) response.description ||= STATUS_CODES[status] ?? '';
  }
  for (const status of new Set(codes.values())) {
    const same = [...codes.keys()].filter((code) => codes.get(code) === status);
    const names = new Map(same.map((code) => [code, PROBLEMS[code][0] === status ? code : `${code}_${status}`]));
    for (const [code, name] of names) examples[name] ??= { value: exampleOf(code, status) };
    const declared = operation.responses[status];
    operation.responses[status] = {
      description: same.map((code) => `\`${code}\`: ${PROBLEMS[code][1]}`).join('. '),
      headers: { ...(declared && 'headers' in declared ? declared.headers : {}), ...problemHeaders(status, same) },
      content: {
        'application/problem+json': {
          schema: { $ref: getSchemaPath(ProblemBody) },
          examples: Object.fromEntries(
            [...names].map(([code, name]) => [code, { $ref: `#/components/examples/${name}` }]),
          ),
        },
      },
    };
  }
}

const BODY_PROBLEMS = ['malformed_json', 'body_too_large', 'unsupported_media_type'] as const satisfies ProblemCode[];

function takesJson({ requestBody }: Operation): boolean {
  return requestBody !== undefined && 'content' in requestBody && 'application/json' in requestBody.content;
}

/** The headers of the problem responses of a status. */
function problemHeaders(status: number, codes: ProblemCode[]): NonNullable<Response['headers']> {
  return {
    ...(status === 401 ? headers('WWW-Authenticate') : {}),
    ...(codes.includes('invalid_signature') ? headers('Accept-Signature') : {}),
    ...(status === 412 ? headers('ETag') : {}),
    ...(status === 429 || codes.includes('idempotency_in_progress') ? headers('Retry-After') : {}),
    ...(status === 429 && codes.includes('quota_exceeded') ? headers('RateLimit-Policy', 'RateLimit') : {}),
    ...(status === 503 ? { 'Retry-After': { ...HEADERS['Retry-After'], required: true } } : {}),
  };
}

function exampleOf(code: ProblemCode, status: number): Partial<ProblemBody> {
  const [, title] = PROBLEMS[code];
  const errors = [{ pointer: '/password', detail: 'must have an upper-case letter (A–Z)' }];
  return {
    type: 'about:blank',
    title,
    status,
    detail: `${title}.`,
    instance: '/v1/…',
    code,
    requestId: '7f3a90c1-2b',
    ...(code === 'validation_failed' ? { errors } : {}),
  };
}
