/**
 * The jobs of BullMQ as web pages: Bull Board, which shows them all and changes a job only as `Jobs.steer` does.
 *
 * What else Bull Board could do is refused here, not only hidden: a retry or an edit of a job's data would run what
 * nobody asked for under the name of who did, and emptying or pausing the queue beside the jobs' own states would
 * leave those who wait for a job without a word of it.
 */
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { FastifyAdapter } from '@bull-board/fastify';
import type { Job as BullJob, Queue } from 'bullmq';
import type { FastifyPluginCallback } from 'fastify';
import { BullJobs } from './bullmq.ts';
import type { Jobs, Wish } from './port.ts';

export interface JobsBoard {
  readonly jobs: Jobs;
  /** Its pages and their API, for a server that lets nobody in but operators. */
  readonly pages: FastifyPluginCallback;
}

/** The buttons of Bull Board that do something, and what. */
const BUTTONS: ReadonlyMap<string, Wish> = new Map([
  ['put /api/queues/:queueName/:jobId/clean', 'cancel'],
  ['put /api/queues/:queueName/:jobId/promote', 'resume'],
]);

/** `steerPath`: the path of the page that steers a job, before its id. */
export function open(url: URL, namespace: string, steerPath: string): Promise<JobsBoard> {
  const jobs = new BullJobs(url.href, namespace);
  const server = new FastifyAdapter();
  createBullBoard({
    queues: [new SteeredQueue(jobs, steerPath)],
    serverAdapter: server,
    options: {
      uiConfig: {
        boardTitle: 'Spanway jobs',
        hideDocsLink: true,
        miscLinks: [{ text: 'Sign in or out', url: 'login' }],
      },
      handlerHooks: {
        before: async ({ method, route, request }) => {
          if (method === 'get') return { allow: true };
          if (!BUTTONS.has(`${method} ${route}`)) {
            return { allow: false, status: 403, message: 'Not here: a job is paused, resumed and cancelled, and nothing else.' };
          }
          const job = await jobs.get(String(request.params['jobId']));
          if (job?.endedAt === undefined) return { allow: true };
          return { allow: false, status: 409, message: `The job has ended: ${job.state}.` };
        },
      },
    },
  });
  return Promise.resolve({ jobs, pages: server.registerPlugin() });
}

/** Its buttons on a job are wishes. */
class SteeredQueue extends BullMQAdapter {
  readonly #jobs: BullJobs;

  constructor(jobs: BullJobs, steerPath: string) {
    super(jobs.queue as Queue, {
      allowRetries: false,
      externalJobUrl: ({ id }) => ({ displayText: 'Pause, resume, cancel', href: `${steerPath}${String(id)}` }),
    });
    this.#jobs = jobs;
  }

  override async getJob(id: string): Promise<BullJob | undefined> {
    const job = await super.getJob(id);
    return (
      job &&
      Object.assign(job, {
        remove: () => this.#jobs.steer(id, 'cancel'),
        promote: () => this.#jobs.steer(id, 'resume'),
      })
    );
  }
}
