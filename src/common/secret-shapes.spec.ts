import { concealSecrets, hasSecret } from './secret-shapes.js';

const LETTERS = 'Ab0_-'.repeat(20);

describe('concealSecrets', () => {
  test.each(['qm_', 'qmr_', 'qmt_', 'eyJ'])('secrets with prefix %s: removes only them', (prefix) => {
    const secret = prefix + LETTERS.slice(0, 49);
    expect(concealSecrets(`/call/api1%20${secret}/x?${secret}.${secret}`)).toBe(`/call/api1%20${prefix}*/x?${prefix}*`);
    expect(hasSecret(secret)).toBe(true);
  });

  test.each(['/v1/users/0190a6e8-0000-7000-8000-000000000000', 'qm_short', 'eyJhbGciOiJSUzI1NiJ9', 'q'.repeat(512)])(
    'text without secrets: unchanged: %s',
    (text) => {
      expect(concealSecrets(text)).toBe(text);
      expect(hasSecret(text)).toBe(false);
    },
  );
});
