/** `quartermaster serve`. */
export async function run(): Promise<null> {
  await import('../../main.js');
  return null;
}
