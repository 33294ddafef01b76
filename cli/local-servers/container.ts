/** Starts a server in a container, where there is a Docker engine and nothing better. */
import { randomUUID } from 'node:crypto';
import { type Child, type ChildOptions, startChild } from './child.ts';
import { succeeds } from './programs.ts';

export interface ContainerOptions extends Pick<ChildOptions, 'title' | 'ready'> {
  readonly docker: string;
  readonly image: string;
  /** Ports of 127.0.0.1, and the container's port behind each. */
  readonly ports: readonly (readonly [host: number, container: number])[];
  readonly command?: readonly string[];
  readonly log: (line: string) => void;
}

// Long enough to fetch an image of some hundred megabytes.
const READY_WITH_PULL_MS = 600_000;

export async function startContainer(options: ContainerOptions): Promise<Child> {
  const { docker, image, title, ready } = options;
  if (!(await succeeds(docker, ['image', 'inspect', image]))) options.log(`${title}: fetching the image ${image}; this may take minutes`);
  const name = `spanway-${randomUUID()}`;
  const publish = options.ports.flatMap(([host, container]) => ['--publish', `127.0.0.1:${host}:${container}`]);
  return startChild({
    title,
    ready,
    command: docker,
    args: ['run', '--rm', '--name', name, ...publish, image, ...(options.command ?? [])],
    // The end of `docker run` does not end the container.
    cleanup: [docker, 'rm', '--force', name],
    readyWithinMs: READY_WITH_PULL_MS,
  });
}
