import type { FastifyReply } from 'fastify';

/** Adds a field to `Vary`. Keeps existing fields: other parts of the server, and upstreams of APIs, set it too. */
export function addVary(reply: FastifyReply, field: string): void {
  const known = [reply.getHeader('vary') ?? []].flat().join(', ');
  const fields = known.split(',').map((each) => each.trim().toLowerCase());
  if (fields.includes('*') || fields.includes(field.toLowerCase())) return;
  void reply.header('vary', known === '' ? field : `${known}, ${field}`);
}
