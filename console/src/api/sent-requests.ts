import { Store } from './store';

/** A request that this page has sent as the signed-in user. */
export interface SentRequest {
  id: number;
  request: Request;
  status: number;
  /** The path of the page that sent it. */
  page: string;
}

const KEPT = 40;

/** Paths whose requests hold secrets. */
const SECRET = /\/v1\/(auth\/|verify$)/;

let count = 0;

/** The last requests, newest first. */
export const sentRequests = new Store<SentRequest[]>([]);

/** Keeps a request that was answered. Its body is not read. */
export function keepRequest(request: Request, status: number): void {
  if (SECRET.test(new URL(request.url).pathname)) return;
  const sent = { id: count++, request, status, page: location.pathname };
  sentRequests.set([sent, ...sentRequests.get().slice(0, KEPT - 1)]);
}
