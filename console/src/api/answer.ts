/** A call of `api` or `publicApi`. */
type Call = Promise<{ data?: unknown; response: Response }>;

type Data<C extends Call> = Exclude<Awaited<C>['data'], undefined>;

/** Returns the body of a response. Responses that are no success have thrown an `ApiProblem` before. */
export async function answer<C extends Call>(call: C): Promise<Data<C>> {
  const { data } = await call;
  return data as Data<C>;
}

/** An object and its version, for `If-Match`. */
export interface Tagged<T> {
  value: T;
  etag: string | undefined;
}

/** Returns the body of a response with its ETag: what a form that changes the object starts from. */
export async function tagged<C extends Call>(call: C): Promise<Tagged<Data<C>>> {
  const { data, response } = await call;
  return { value: data as Data<C>, etag: response.headers.get('etag') ?? undefined };
}
