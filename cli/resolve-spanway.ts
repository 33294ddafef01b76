/**
 * How resource files are loaded. `import { defineResource } from 'spanway'` means this installation, wherever the file
 * lies; and the file is a module whatever the package.json above it says, as `npm init` writes "commonjs" there.
 */
import { registerHooks } from 'node:module';

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const entry = new URL(`../index.${extension}`, import.meta.url).href;

/**
 * From now until `deregister`. `folder`, a `file:` URL that ends in a slash, is where the modules are. To be deregistered
 * once they are loaded: CommonJS packages that are loaded meanwhile stay slower, for example Fastify, whose smallest route
 * then takes a quarter more of the processor (Node 24.21). What a resource file imports later is Node's to find.
 */
export function resolveSpanway(folder?: string): ReturnType<typeof registerHooks> {
  return registerHooks({
    resolve: (specifier, context, next) => {
      if (specifier === 'spanway') return { url: entry, shortCircuit: true };
      const resolved = next(specifier, context);
      const { pathname } = new URL(resolved.url);
      if (folder === undefined || !resolved.url.startsWith(folder) || pathname.includes('/node_modules/')) return resolved;
      if (pathname.endsWith('.ts')) return { ...resolved, format: 'module-typescript' };
      return pathname.endsWith('.js') ? { ...resolved, format: 'module' } : resolved;
    },
  });
}
