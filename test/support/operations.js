/**
 * One operation of /openapi.json.
 * @typedef {object} Operation
 * @property {string} id for example `GET /v1/users/{user}`
 * @property {string} method
 * @property {string} path
 * @property {Declared} declared as in the document
 *
 * @typedef {object} Declared
 * @property {string} [summary]
 * @property {string[]} [tags]
 * @property {object[]} [security]
 * @property {{ name: string, in: string, schema?: Record<string, any> }[]} [parameters]
 * @property {{ content: Record<string, { schema: { $ref: string } }> }} [requestBody]
 * @property {Record<string, DeclaredResponse>} responses
 *
 * @typedef {object} DeclaredResponse
 * @property {Record<string, Record<string, any>>} [headers]
 * @property {Record<string, { schema?: Record<string, any>, examples?: Record<string, { $ref: string }> }>} [content]
 */

/**
 * Whether a path takes an API key and any method. It bypasses Nest, so it has no body to validate.
 * @param {string} path
 */
export function isMetered(path) {
  return path.startsWith('/call/') || path.startsWith('/v1/forward-auth');
}

/**
 * Returns all operations of a document.
 * @param {any} document
 * @returns {Operation[]}
 */
export function operationsIn(document) {
  return Object.entries(/** @type {Record<string, Record<string, Declared>>} */ (document.paths)).flatMap(
    ([path, methods]) =>
      Object.entries(methods).map(([name, declared]) => {
        const method = name.toUpperCase();
        return { id: `${method} ${path}`, method, path, declared };
      }),
  );
}
