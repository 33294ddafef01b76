/** What the clients of AWS's services have in common: data alone, so that each SDK is loaded by its adapter. */

/** To open a connection, TLS included. */
const CONNECT_TIMEOUT_MS = 2_000;
/**
 * For an answer, once connected: 1 MiB and a commit on three machines take well under a second. A later answer is not
 * known to be a failure: what was asked may have happened.
 */
export const REQUEST_TIMEOUT_MS = 5_000;

/** Made up, for local servers, which check none. */
export const LOCAL_CREDENTIALS = { accessKeyId: 'local', secretAccessKey: 'local' } as const;

/** The `requestHandler` of an SDK's client. `maxSockets`: requests under way at once. */
export function requestHandler(maxSockets: number) {
  const agent = { maxSockets, keepAlive: true };
  return {
    connectionTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // Without it the SDK only warns and waits on.
    throwOnRequestTimeout: true,
    httpAgent: agent,
    httpsAgent: agent,
  };
}
