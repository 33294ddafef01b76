/**
 * Starts the real local servers once for all test files, and says which run.
 * SPANWAY_TEST_SERVERS names those to start ("spanner,redis"; empty for none) instead of all.
 */
import type { TestProject } from 'vitest/node';
import { type LocalServers, type RunningServers, SERVER_NAMES, type ServerName, startLocalServers } from '../cli/local-servers/index.ts';

declare module 'vitest' {
  interface ProvidedContext {
    servers: LocalServers;
    missingServers: RunningServers['missing'];
  }
}

const print = (line: string): boolean => process.stderr.write(`${line}\n`);

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const wanted = process.env['SPANWAY_TEST_SERVERS']?.split(',').map((name) => name.trim());
  const only = SERVER_NAMES.filter((name) => wanted?.includes(name) ?? true);
  const { servers, missing, stop } = await startLocalServers({ only, log: print });

  const reasons: Partial<Record<ServerName, string>> = { ...missing };
  for (const name of SERVER_NAMES) if (!only.includes(name)) reasons[name] = 'SPANWAY_TEST_SERVERS leaves it out';
  project.provide('servers', servers);
  project.provide('missingServers', reasons);

  const running = Object.keys(servers).join(', ') || 'none';
  const absent = Object.entries(missing).map(([name, reason]) => `${name} (${reason})`);
  print(`real servers: ${running}${absent.length > 0 ? `; missing: ${absent.join('; ')}` : ''}`);
  return stop;
}
