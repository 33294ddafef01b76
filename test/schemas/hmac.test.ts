import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HmacKey } from '../../schemas/envelope/hmac.ts';

describe('an HMAC key', () => {
  // https://www.rfc-editor.org/rfc/rfc4231#section-4.3 and 4.7, the latter with a key of more than a block
  it.each([
    [Buffer.from('Jefe'), 'what do ya want for nothing?', '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'],
    [
      Buffer.alloc(131, 0xaa),
      'Test Using Larger Than Block-Size Key - Hash Key First',
      '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
    ],
  ])('makes the MACs of RFC 4231 (%#)', (key, text, mac) => {
    expect(new HmacKey(key).mac(text).toString('hex')).toBe(mac);
  });

  it('makes the MACs that createHmac makes, of keys of any length and of parts one behind the other', () => {
    const part = fc.oneof(fc.string({ unit: 'binary' }), fc.uint8Array({ maxLength: 300 }));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 150 }), fc.array(part, { maxLength: 4 }), (key, parts) => {
        const expected = createHmac('sha256', key);
        for (const each of parts) expected.update(each);
        expect(new HmacKey(key).mac(...parts)).toEqual(expected.digest());
      }),
    );
  });

  it('shows nothing of the key', () => {
    expect(JSON.stringify(new HmacKey(Buffer.alloc(32, 1)))).toBe('{}');
  });
});
