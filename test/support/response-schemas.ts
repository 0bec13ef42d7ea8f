import { Ajv, type ValidateFunction } from 'ajv';
import formats from 'ajv-formats';
import type { Answer, Operation } from './api.js';
import type { Document, Schema } from './subjects.js';

/**
 * A schema of OpenAPI 3.0 in the words of JSON Schema; an object has no members but those that are named, so that an
 * answer that has more is found as well as one that has less.
 */
function strict(schema: Schema): Schema {
  const { nullable, ...rest } = schema;
  const made: Schema = Object.fromEntries(
    Object.entries(rest).map(([name, value]) => {
      if (name === 'properties') {
        return [name, Object.fromEntries(Object.entries<Schema>(value).map(([each, of]) => [each, strict(of)]))];
      }
      if (['items', 'additionalProperties'].includes(name) && typeof value === 'object') return [name, strict(value)];
      if (['oneOf', 'anyOf', 'allOf'].includes(name)) return [name, value.map(strict)];
      if (name === '$ref') return [name, String(value).replace('#', 'document#')];
      return [name, value];
    }),
  );
  if (made.properties && made.additionalProperties === undefined) made.additionalProperties = false;
  return nullable === true ? { anyOf: [{ type: 'null' }, made] } : made;
}

/** Judges answers by the document. */
export class ResponseSchemas {
  private readonly ajv = new Ajv({ strict: false, allErrors: false });
  private readonly checks = new Map<string, ValidateFunction>();

  constructor({ schemas }: Document) {
    formats.default(this.ajv);
    this.ajv.addKeyword('example');
    this.ajv.addSchema({
      $id: 'document',
      components: { schemas: Object.fromEntries(Object.entries(schemas).map(([name, of]) => [name, strict(of)])) },
    });
  }

  /** What of an answer the document does not say; undefined where it says all. */
  faultOf({ declared }: Operation, { status, headers, text, body }: Answer): string | undefined {
    const response = declared.responses[String(status)];
    if (!response) return `the status ${status} is not documented`;
    for (const [name, { required }] of Object.entries(response.headers ?? {})) {
      if (required === true && !headers.has(name)) return `the documented header ${name} is missing`;
    }
    const type = /^[^;]*/.exec(headers.get('content-type') ?? '')![0];
    if (!response.content) return text === '' ? undefined : `there is a body, and none is documented`;
    const content = response.content[type];
    if (!content) return `the media type "${type}" is not documented`;
    // CSV, Prometheus’ text, and what an API answers have no schema to speak of.
    if (!type.endsWith('json')) return undefined;
    const values = type === 'application/x-ndjson' ? text.split('\n').filter(Boolean).map(parse) : [body];
    const check = this.check(content.schema ?? {});
    for (const value of values) {
      if (!check(value)) {
        const [{ instancePath, message, params }] = check.errors as [any];
        return `the body is not as documented: ${instancePath === '' ? 'it' : instancePath} ${message} ${JSON.stringify(params)}`;
      }
    }
    return undefined;
  }

  private check(schema: Schema): ValidateFunction {
    const name = JSON.stringify(schema);
    let check = this.checks.get(name);
    if (!check) {
      check = this.ajv.compile(strict(schema));
      this.checks.set(name, check);
    }
    return check;
  }
}

const parse = (line: string): unknown => JSON.parse(line);
