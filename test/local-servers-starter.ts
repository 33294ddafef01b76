/** Run by local-servers.test.ts as a process of its own: starts servers, says where they are, and stays. */
import { type ServerName, startLocalServers } from '../cli/local-servers/index.ts';

const { servers, missing } = await startLocalServers({ only: process.argv.slice(2) as ServerName[], log: () => {} });
process.stdout.write(`${JSON.stringify({ servers, missing })}\n`);
// The servers' pipes keep this process alive until it is killed.
