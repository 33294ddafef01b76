/** What every adapter of the secrets port must do. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MissingSecretError, type Secrets } from '../../ports/secrets/port.ts';

export interface SecretsFixture {
  readonly secrets: Secrets;
  /** Stores a secret as an operator does, or its next version. */
  store(name: string, value: string): Promise<void>;
  remove(): Promise<void>;
}

export function secretsConformance(name: string, open: () => Promise<SecretsFixture>): void {
  describe(`secrets: ${name}`, () => {
    let fixture: SecretsFixture;
    beforeEach(async () => {
      fixture = await open();
    });
    afterEach(() => fixture.remove());

    it.each(['s3cret', '{"keys":[{"id":"k1"}]}', '-----BEGIN KEY-----\nAbc+/=\n-----END KEY-----', 'ü 数', ' spaces '])(
      'gives the secret as it was stored: %j',
      async (value) => {
        await fixture.store('pack-signing-keys', value);
        expect(await fixture.secrets.get('pack-signing-keys')).toBe(value);
      },
    );

    it('tells secrets apart by their whole names', async () => {
      await fixture.store('key', 'one');
      await fixture.store('key-2', 'two');
      expect(await Promise.all(['key', 'key-2'].map((secret) => fixture.secrets.get(secret)))).toEqual(['one', 'two']);
    });

    it('gives the current version each time', async () => {
      await fixture.store('key', 'first');
      expect(await fixture.secrets.get('key')).toBe('first');
      await fixture.store('key', 'second');
      expect(await fixture.secrets.get('key')).toBe('second');
    });

    it('throws MissingSecretError, with the place it looked, for a secret that is not there', async () => {
      await fixture.store('present', 'hush-hush');
      const error = await fixture.secrets.get('absent').catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(MissingSecretError);
      expect(error).toMatchObject({
        code: 'missing_secret',
        context: { secret: 'absent' },
        message: expect.stringMatching(/absent.+absent/i),
      });
      expect(JSON.stringify(error) + String(error)).not.toContain('hush-hush');
    });

    it('takes an empty secret for a missing one', async () => {
      await fixture.store('key', '');
      await expect(fixture.secrets.get('key')).rejects.toThrow(MissingSecretError);
    });

    it.each(['', '.', '..', '../key', 'a/b', 'a\\b', '/etc/passwd', 'Key', 'a--b', '-a', 'a_b', 'key\0', 'key\n', 'a.b'])(
      'throws MissingSecretError for the name %j, which no secret can have',
      async (bad) => {
        await fixture.store('key', 'value');
        await expect(fixture.secrets.get(bad)).rejects.toThrow(MissingSecretError);
      },
    );
  });
}
