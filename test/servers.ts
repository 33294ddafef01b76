/** Test suites that need a real local server: never silently passed over. */
import { describe, inject, it } from 'vitest';
import type { LocalServers, ServerName } from '../cli/local-servers/index.ts';

/** CI sets it: a missing server is then a failure, not a skip. */
const serversAreRequired = (process.env['SPANWAY_TEST_REQUIRE_SERVERS'] ?? '') !== '';

/**
 * Runs the suite on the servers of these names. Where one is missing, the suite is reported as skipped, with the
 * reason in its title, or as failed with SPANWAY_TEST_REQUIRE_SERVERS.
 */
export function describeWithServer<Name extends ServerName>(
  names: Name | readonly Name[],
  title: string,
  suite: (servers: Required<Pick<LocalServers, Name>>) => void,
): void {
  const servers = inject('servers');
  const missing = inject('missingServers');
  const needed: readonly ServerName[] = typeof names === 'string' ? [names] : names;
  const absent = needed.filter((name) => servers[name] === undefined);
  if (absent.length === 0) {
    describe(title, () => suite(servers as Required<Pick<LocalServers, Name>>));
    return;
  }
  const reason = absent.map((name) => `${name} is missing: ${missing[name] ?? 'no reason is known'}`).join('; ');
  if (serversAreRequired) {
    describe(title, () => {
      it('has its servers', () => {
        throw new Error(reason);
      });
    });
  } else {
    describe.skip(`${title} (${reason})`, () => {
      it('is skipped', () => {});
    });
  }
}
