/** The process that is fauxqs, on the port given as its argument. */
import { buildApp } from 'fauxqs';

// Its own start function listens on all interfaces, whatever host it is given; its app can be told.
await buildApp({ logger: false }).listen({ host: '127.0.0.1', port: Number(process.argv[2]) });
