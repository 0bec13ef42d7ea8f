import type { OpenAPIObject } from '@nestjs/swagger';
import { operationsOf, type Operation } from './api-headers.js';
import { PROBLEMS, type ProblemCode } from '../../common/problem.js';

const TRY_IT = `**To try it here**: run \`POST /v1/auth/login\` below. This page then sends the access token with its requests.
The complete document, for programs: [/openapi.json](BASE_PATH/openapi.json).`;

/** Paths that take any method, also with a path below. */
const METERED = ['/call/{slug}', '/v1/forward-auth'];

/**
 * Returns the document for Swagger UI, reduced to make the page small and fast:
 * - Paths that take any method (METERED) appear once, not with every method.
 * - Each operation has one kind of credential, so that the page never sends two. A browser cannot sign requests.
 * - Optional parameters start empty: a default is described, not prefilled.
 * - The success response comes first. All errors are folded into one line below it.
 */
export function pageDocument(document: OpenAPIObject, basePath: string): OpenAPIObject {
  const page = structuredClone(document);
  page.info.description = `${page.info.description ?? ''}\n\n${TRY_IT.replace('BASE_PATH', basePath)}`;
  for (const path of METERED) {
    Reflect.deleteProperty(page.paths, `${path}/{path}`);
    for (const method of ['post', 'put', 'patch', 'delete'] as const) {
      Reflect.deleteProperty(page.paths[path] ?? {}, method);
    }
  }
  Reflect.deleteProperty(page.components?.securitySchemes ?? {}, 'signature');
  // The only server is the one that serves the page. Without a base path, Swagger UI need not show it.
  if (basePath === '') Reflect.deleteProperty(page, 'servers');
  for (const path of Object.values(page.paths)) {
    for (const [, operation] of operationsOf(path)) {
      operation.security = (operation.security ?? []).filter((scheme) => !('signature' in scheme));
      emptyOptional(operation);
      foldErrors(operation);
      leaveOutRequestIds(operation);
    }
  }
  return page;
}

function emptyOptional({ parameters = [] }: Operation): void {
  for (const parameter of parameters) {
    if (!('in' in parameter) || parameter.required === true || !parameter.schema || !('default' in parameter.schema)) {
      continue;
    }
    parameter.description = `${parameter.description ?? ''} (default: \`${String(parameter.schema.default)}\`)`.trim();
    delete parameter.schema.default;
  }
}

/** Replaces the error responses of an operation by one response whose description is a folded list of them. */
function foldErrors({ responses }: Operation): void {
  const errors = Object.entries(responses).filter(([status]) => /^[45]/.test(status));
  const lines = errors.flatMap(([status, response]) => {
    Reflect.deleteProperty(responses, status);
    const content = response && 'content' in response ? response.content : undefined;
    return Object.keys(content?.['application/problem+json']?.examples ?? {}).map(
      (code) => `<li>${status} <code>${code}</code>: ${PROBLEMS[code as ProblemCode][1]}</li>`,
    );
  });
  const { default: other } = responses;
  const description = other && 'description' in other ? `${other.description}\n\n` : '';
  const statuses = errors.map(([status]) => status).join(', ');
  responses.default = {
    description: `${description}<details><summary>Errors: ${statuses}</summary><ul>${lines.join('')}</ul></details>`,
  };
}

/** Removes the header that every response has. */
function leaveOutRequestIds({ responses }: Operation): void {
  for (const response of Object.values(responses)) {
    if (response && 'headers' in response) Reflect.deleteProperty(response.headers ?? {}, 'X-Request-Id');
  }
}

/** The page. Its script and styles are files, so that its content security policy need not allow inline scripts. */
export const htmlOf = (basePath: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Quartermaster API</title>
<link rel="icon" href="${basePath}/docs/favicon-32x32.png">
<link rel="stylesheet" href="${basePath}/docs/swagger-ui.css">
<link rel="stylesheet" href="${basePath}/docs/page.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="${basePath}/docs/swagger-ui-bundle.js"></script>
<script src="${basePath}/docs/page.js"></script>
</body>
</html>
`;

export const STYLE = `body { margin: 0; }
.swagger-ui .info { margin: 1.5rem 0; }
/* The link to the reduced document of this page: programs need the complete one. */
.swagger-ui .info hgroup.main a { display: none; }
/* No operation has links. */
.swagger-ui .response-col_links { display: none; }
.swagger-ui .scheme-container { padding: 1rem 0; margin: 0 0 1rem; }
.swagger-ui .filter .operation-filter-input { width: 100%; max-width: 30rem; }
.swagger-ui .responses-inner details summary { cursor: pointer; padding: .5rem 0; }
@media (max-width: 40rem) {
  .swagger-ui .wrapper { padding: 0 .5rem; }
  .swagger-ui .opblock .opblock-summary { flex-wrap: wrap; }
  .swagger-ui .opblock .opblock-summary-path { flex: 1; max-width: none; }
  .swagger-ui .opblock .opblock-summary-description { flex-basis: 100%; padding: .25rem 0 0; }
  .swagger-ui table.parameters, .swagger-ui table.parameters tbody, .swagger-ui table.parameters tr,
  .swagger-ui table.parameters td { display: block; width: 100%; min-width: 0; }
  .swagger-ui table.parameters thead { display: none; }
  .swagger-ui .parameters-col_description input, .swagger-ui .parameters-col_description select { width: 100%; max-width: none; }
}
`;
