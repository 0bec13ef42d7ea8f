// Plain JavaScript, because the test environment loads it outside of Jest transforms.
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';

/** @typedef {Record<string, any>} Schema */

/**
 * The parts of an OpenAPI 3.1 document that the validation of responses uses.
 * @typedef {object} OpenApi
 * @property {{ schemas: Record<string, Schema>, headers: Record<string, { required?: boolean }> }} components
 */

/** Headers that HTTP, CORS or the security headers add to any response; operations do not document them. */
const OF_ANY_ANSWER =
  /^(access-control-.*|cache-control|connection|content-(encoding|length|security-policy|type)|date|keep-alive|transfer-encoding|vary|x-content-type-options)$/;

/** Statuses of a rejected body that the operation does not take; operations do not document them. */
const STRAY_BODY = [400, 413, 415];

/**
 * Forbids additional properties in objects, so that undocumented members are found as well as missing ones.
 * @param {Schema} schema
 * @returns {Schema}
 */
function strict(schema) {
  /** @type {Schema} */
  const made = Object.fromEntries(
    Object.entries(schema).map(([name, value]) => {
      if (name === 'properties') {
        return [name, Object.fromEntries(Object.entries(value).map(([each, of]) => [each, strict(of)]))];
      }
      if (['items', 'additionalProperties'].includes(name) && typeof value === 'object') return [name, strict(value)];
      if (['oneOf', 'anyOf', 'allOf'].includes(name)) return [name, value.map(strict)];
      if (name === '$ref') return [name, String(value).replace('#', 'document#')];
      return [name, value];
    }),
  );
  if (made.properties && made.additionalProperties === undefined) made.additionalProperties = false;
  return made;
}

/** Validates responses against the document. Compiles each schema at its first use. */
export class ResponseSchemas {
  ajv = new Ajv2020({ strict: false, allErrors: false, meta: false, validateSchema: false });
  /** @type {Map<string, import('ajv').ValidateFunction>} */
  checks = new Map();

  /** @param {OpenApi} document */
  constructor(document) {
    this.document = document;
    formats.default(this.ajv);
    // E-mail addresses may contain letters of any script.
    this.ajv.addFormat('email', /^[^@\s]+@[^@\s]+$/);
    const schemas = Object.entries(document.components.schemas).map(([name, of]) => [name, strict(of)]);
    this.ajv.addSchema({ $id: 'document', components: { schemas: Object.fromEntries(schemas) } });
  }

  /**
   * Returns the first difference between a response and the document, or undefined.
   * @param {import('./operations.js').Operation} operation
   * @param {import('./answer.js').Answer} answer
   * @param {boolean} hasBody whether the request had one
   * @returns {string | undefined}
   */
  faultOf({ method, declared }, answer, hasBody) {
    const { status, headers, text, body } = answer;
    if (hasBody && !declared.requestBody && STRAY_BODY.includes(status)) return undefined;
    const [type = ''] = (headers.get('content-type') ?? '').split(';');
    const own = declared.responses[String(status)];
    const { default: other } = declared.responses;
    const isOther = own?.content?.[type] === undefined && other !== undefined;
    const response = isOther ? other : own;
    if (!response) return `the status ${status} is not documented`;
    return (
      this.headerFault(response.headers ?? {}, headers, other !== undefined) ??
      (method === 'HEAD' ? undefined : this.bodyFault(response, type, text, body))
    );
  }

  /**
   * @param {Record<string, Schema>} documented
   * @param {Headers} headers
   * @param {boolean} isOpen whether an upstream may add headers
   */
  headerFault(documented, headers, isOpen) {
    for (const [name, header] of Object.entries(documented)) {
      const { required } = this.document.components.headers[header.$ref?.split('/').at(-1)] ?? header;
      if (required === true && !headers.has(name)) return `the documented header ${name} is missing`;
    }
    const names = Object.keys(documented).map((name) => name.toLowerCase());
    const unknown = [...headers.keys()].find((name) => !OF_ANY_ANSWER.test(name) && !names.includes(name));
    return unknown === undefined || isOpen
      ? undefined
      : `the header ${unknown} is not documented (see HEADERS in src/http/docs/api-headers.ts)`;
  }

  /**
   * @param {import('./operations.js').DeclaredResponse} response
   * @param {string} type
   * @param {string} text
   * @param {any} body
   */
  bodyFault({ content: documented }, type, text, body) {
    if (!documented) return text === '' ? undefined : `there is a body, and none is documented`;
    const content = documented[type] ?? documented['*/*'];
    if (!content) return `the media type "${type}" is not documented`;
    // CSV, Prometheus text and API responses have no useful schema.
    if (!type.endsWith('json')) return undefined;
    if (content.examples && type === 'application/problem+json' && !(body.code in content.examples)) {
      return `the code ${body.code} is not documented`;
    }
    const values =
      type === 'application/x-ndjson'
        ? text
            .split('\n')
            .filter(Boolean)
            .map((line) => JSON.parse(line))
        : [body];
    const check = this.check(content.schema ?? {});
    for (const value of values) {
      if (!check(value)) {
        const { instancePath, message, params } = /** @type {any} */ (check.errors)[0];
        return `the body is not as documented: ${instancePath === '' ? 'it' : instancePath} ${message} ${JSON.stringify(params)}`;
      }
    }
    return undefined;
  }

  /** @param {Schema} schema */
  check(schema) {
    const name = JSON.stringify(schema);
    let check = this.checks.get(name);
    if (!check) {
      check = this.ajv.compile(strict(schema));
      this.checks.set(name, check);
    }
    return check;
  }
}
