import { sharedApi } from '../support/api.js';
import { expectNoViolations, openPage, signIn } from './browser.js';

const api = sharedApi();

test('Tasks: made until no credit is left, completed, renamed and deleted', async () => {
  const user = await api.createUser({ credits: 1 });
  const mine = api.as(user);
  const page = await openPage('/tasks');
  await signIn(page, user);
  await page.getByText('You have 1 of 1 credits left.').waitFor();
  await expectNoViolations(page);

  await page.getByLabel('New task').fill('Count the stores');
  await page.getByRole('button', { name: 'Add' }).click();
  await page.getByText('You have 0 of 1 credits left.').waitFor();
  await page.getByLabel('New task').fill('One too many');
  await page.getByRole('button', { name: 'Add' }).click();
  await page.getByRole('alert').getByText('Delete a task to release its credit').waitFor();
  expect(await page.getByLabel('New task').inputValue()).toBe('One too many');
  await expectNoViolations(page);

  await page.getByLabel('Completed: Count the stores').click();
  await page.getByRole('radiogroup', { name: 'Which tasks' }).getByText('Completed').click();
  await page.getByRole('button', { name: 'Rename Count the stores' }).click();
  await page.getByRole('dialog').getByLabel('Title').fill('Count them again');
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await page.getByRole('cell', { name: 'Count them again', exact: true }).waitFor();
  expect((await mine.get('/v1/tasks')).body.data).toMatchObject([{ title: 'Count them again', completed: true }]);

  await page.getByRole('button', { name: 'Delete Count them again' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByText('You have 1 of 1 credits left.').waitFor();
  expect((await mine.get('/v1/tasks')).body.data).toEqual([]);
});

test('Resources: made up to the limit and deleted', async () => {
  const plan = await api.createPlan([{ meter: 'resources', limit: 1 }]);
  const user = await api.createUser({ plan });
  const mine = api.as(user);
  const page = await openPage('/resources');
  await signIn(page, user);
  await page.getByText('0 of 1 used').waitFor();
  await expectNoViolations(page);

  const dialog = page.getByRole('dialog', { name: 'Create a resource' });
  const create = async (value: string): Promise<void> => {
    await page.getByRole('button', { name: 'Create a resource' }).click();
    await dialog.getByLabel('Value').fill(value);
    await dialog.getByRole('button', { name: 'Create', exact: true }).click();
  };
  await create('printer-1');
  await page.getByText('1 of 1 used').waitFor();
  expect((await mine.get('/v1/resources')).body.data).toMatchObject([{ value: 'printer-1' }]);
  await create('printer-2');
  await dialog.getByText('Delete something to make room').waitFor();
  await expectNoViolations(page);
  await dialog.getByRole('button', { name: 'Cancel' }).click();

  await page.getByRole('button', { name: 'Delete printer-1' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByText('No resource yet').waitFor();
  expect((await mine.get('/v1/resources')).body.data).toEqual([]);
});
