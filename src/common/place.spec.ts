import { placeOf } from './place.js';

describe('the place of an address', () => {
  test.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::ffff:c000:207', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:0002::', '2001:db8:1:2::/64'],
    ['::1', '::/64'],
    ['fe80::1%eth0', 'fe80::/64'],
    ['', 'unknown'],
    ['unix', 'unknown'],
    ['evil, 192.0.2.7', 'unknown'],
  ])('%s is %s', (ip, place) => {
    expect(placeOf(ip)).toBe(place);
  });
});
