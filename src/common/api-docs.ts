import { STATUS_CODES } from 'node:http';
import { applyDecorators } from '@nestjs/common';
import { ApiExtension, ApiExtraModels, ApiProperty, getSchemaPath } from '@nestjs/swagger';
import { HEADERS, headers, type Operation, type Response } from './api-headers.js';
import { PROBLEMS, type ProblemCode } from './problem.js';

/** One wrong field. */
export class FieldErrorBody {
  @ApiProperty({ description: 'JSON pointer into the body, or the name of the parameter', example: '/password' })
  pointer!: string;

  @ApiProperty({ description: 'What is wrong with it', example: 'must have an upper-case letter' })
  detail!: string;
}

/** A list of what a module documents that is not to be imported here. */
const listOf = (model: string) =>
  ({ required: false, type: 'array', items: { $ref: `#/components/schemas/${model}` } }) as const;

/** A refusal: RFC 9457, problem details. Branch on `code`, which is stable; the texts are for people. */
export class ProblemBody {
  @ApiProperty({ example: 'about:blank', description: 'Always `about:blank`: `code` tells the kind' })
  type!: string;

  @ApiProperty({ example: 'The quota is used up' })
  title!: string;

  @ApiProperty({ type: 'integer', example: 403, description: 'The HTTP status' })
  status!: number;

  @ApiProperty({ example: '50 of 50 resources are in use.' })
  detail!: string;

  @ApiProperty({ example: '/v1/resources', description: 'The path that was asked for' })
  instance!: string;

  @ApiProperty({ enum: Object.keys(PROBLEMS), example: 'quota_exceeded', description: 'Stable: branch on this' })
  code!: ProblemCode;

  @ApiProperty({ example: '7f3a90c1-2b', description: 'Also in `X-Request-Id` and in the log' })
  requestId!: string;

  @ApiProperty({ type: [FieldErrorBody], required: false, description: 'With `validation_failed`: each wrong field' })
  errors?: FieldErrorBody[];

  @ApiProperty({ ...listOf('LimitResponse'), description: 'With `quota_exceeded`: the limits that have no room' })
  violated?: unknown[];

  @ApiProperty({ ...listOf('LimitResponse'), description: 'With `quota_exceeded`: every limit that was judged' })
  limits?: unknown[];

  @ApiProperty({ required: false, type: [String], description: 'With `keys_not_found`: these' })
  missing?: string[];

  @ApiProperty({ ...listOf('EntryResult'), description: 'Of a batch that was refused: what became of each entry' })
  results?: unknown[];

  @ApiProperty({ required: false, type: 'integer', description: 'Of a batch that was refused: how many were written' })
  written?: number;

  @ApiProperty({
    required: false,
    type: 'integer',
    description: 'Of a batch that was refused: how many were there already',
  })
  skipped?: number;

  @ApiProperty({
    required: false,
    type: [String],
    description: 'Of a batch that was refused: the keys left as they were',
  })
  warnings?: string[];
}

/** How the codes of an operation stand in the document while it is being made. */
const MARK = 'x-problem-' as const;

/** Documents that a route can refuse with these codes. May be given several times on one route. */
export function Fails(...codes: ProblemCode[]): MethodDecorator {
  return applyDecorators(ApiExtraModels(ProblemBody), ...codes.map((code) => ApiExtension(...markOf(code))));
}

/** What `Fails` leaves in an operation. @param status where it is not the code's usual one */
export function markOf(code: ProblemCode, status: number = PROBLEMS[code][0]): [`x-problem-${ProblemCode}`, number] {
  return [`${MARK}${code}`, status];
}

/**
 * Completes an operation of the document: every refusal as a response of its status, the codes of one status as its
 * examples. What every operation refuses need not be declared: unknown parameters, and a body that is broken, too
 * large, or of another type.
 * @param examples of the whole document, by name: those that are missing are added
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
    operation.responses[status] = {
      description: same.map((code) => `\`${code}\`: ${PROBLEMS[code][1]}`).join('. '),
      headers: problemHeaders(status, same),
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

/** The headers that come with some refusals of a status. */
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
  const errors = [{ pointer: '/password', detail: 'must have an upper-case letter' }];
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
