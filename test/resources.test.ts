import { randomUUID } from 'node:crypto';
import { expectProblem, sharedApi, type Account } from './support/api.js';

const api = sharedApi();

async function userWithQuota(limit: number | null): Promise<Account> {
  const user = await api.createUser();
  const answer = await (await api.admin()).put(`/v1/users/${user.id}/quotas/resources`, { limit });
  expect(answer.status).toBe(200);
  return user;
}

async function usedBy(user: Account): Promise<number> {
  const { body } = await api.as(user).get('/v1/users/me/quotas');
  return body.data.find((quota: { meter: string }) => quota.meter === 'resources').used;
}

async function countOf(user: Account): Promise<number> {
  let count = 0;
  for (let cursor: string | null = ''; cursor !== null;) {
    const { body } = await api.as(user).get(`/v1/resources?limit=100${cursor && `&cursor=${cursor}`}`);
    count += body.data.length;
    cursor = body.nextCursor;
  }
  return count;
}

describe('/v1/resources', () => {
  test('owner creates, reads, lists and deletes a resource', async () => {
    const user = await api.createUser();
    const made = await api.as(user).post('/v1/resources', { value: 'mine ✓' });
    expect(made.status).toBe(201);
    expect(made.body).toEqual({
      id: expect.any(String),
      owner: user.id,
      value: 'mine ✓',
      createdAt: expect.any(String),
    });
    expect((await api.as(user).get(`/v1/resources/${made.body.id}`)).body).toEqual(made.body);
    expect((await api.as(user).get('/v1/resources')).body).toEqual({ data: [made.body], nextCursor: null });
    expect((await api.as(user).delete(`/v1/resources/${made.body.id}`)).status).toBe(204);
    expect((await api.as(user).get(`/v1/resources/${made.body.id}`)).body.code).toBe('not_found');
    expect((await api.as(user).delete(`/v1/resources/${made.body.id}`)).body.code).toBe('not_found');
  });

  test('GET, DELETE by a stranger: the same 404 as for an unknown id', async () => {
    const [owner, stranger] = await Promise.all([api.createUser(), api.createUser()]);
    const { body } = await api.as(owner).post('/v1/resources', { value: 'x' });
    for (const method of ['GET', 'DELETE']) {
      const foreign = await api.as(stranger).send(method, `/v1/resources/${body.id}`);
      const missing = await api.as(stranger).send(method, `/v1/resources/${randomUUID()}`);
      expect(foreign.status).toBe(404);
      expect({ ...foreign.body, instance: '', requestId: '' }).toEqual({
        ...missing.body,
        instance: '',
        requestId: '',
      });
    }
    expect((await api.as(owner).get(`/v1/resources/${body.id}`)).status).toBe(200);
  });

  test('POST: 500 concurrent requests create exactly the quota of 50', async () => {
    const user = await userWithQuota(50);
    const answers = await Promise.all(
      Array.from({ length: 500 }, (_, i) => api.as(user).post('/v1/resources', { value: String(i) })),
    );
    expect(answers.filter((answer) => answer.status === 201)).toHaveLength(50);
    const refused = answers.filter((answer) => answer.status === 403);
    expect(refused).toHaveLength(450);
    expect(refused[0]?.body).toMatchObject({
      code: 'quota_exceeded',
      limits: [
        { scope: 'user', meter: 'resources', window: 'lifetime', limit: 50, used: 50, remaining: 0, resetsAt: null },
      ],
    });
    expect(await usedBy(user)).toBe(50);
    expect(await countOf(user)).toBe(50);
  });

  test('DELETE gives the unit back, once', async () => {
    const user = await userWithQuota(1);
    const mine = api.as(user);
    const create = () => mine.post('/v1/resources', { value: 'x' });
    const { id } = (await create()).body;
    expectProblem(await create(), 403, 'quota_exceeded');
    expect((await mine.delete(`/v1/resources/${id}`)).status).toBe(204);
    expect((await mine.delete(`/v1/resources/${id}`)).status).toBe(404);
    expect(await usedBy(user)).toBe(0);
    expect((await create()).status).toBe(201);
    expectProblem(await create(), 403, 'quota_exceeded');
  });
});
