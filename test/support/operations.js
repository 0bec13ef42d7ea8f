/** One operation of /openapi.json. */
export interface Operation {
  /** For example `GET /v1/users/{user}`. */
  id: string;
  method: string;
  path: string;
  /** As the document has it. */
  declared: {
    summary?: string;
    tags?: string[];
    security?: object[];
    parameters?: { name: string; in: string; schema?: Record<string, any> }[];
    requestBody?: { content: Record<string, { schema: { $ref: string } }> };
    responses: Record<
      string,
      {
        headers?: Record<string, Record<string, any>>;
        content?: Record<string, { schema?: Record<string, any>; examples?: Record<string, { $ref: string }> }>;
      }
    >;
  };
}

/** Every operation of a document. */
export function operationsIn(document: any): Operation[] {
  return Object.entries<Record<string, Operation['declared']>>(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([name, declared]) => {
      const method = name.toUpperCase();
      return { id: `${method} ${path}`, method, path, declared };
    }),
  );
}
