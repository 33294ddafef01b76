/**
 * How resource files are loaded. `import { defineResource } from 'spanway'` means this installation, wherever the file
 * lies; and the file is a module whatever the package.json above it says, as `npm init` writes "commonjs" there.
 */
import { registerHooks } from 'node:module';

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const entry = new URL(`../index.${extension}`, import.meta.url).href;
const folders: string[] = [];

/** Files of this folder, a `file:` URL that ends in a slash, are modules. */
export function treatAsModules(folder: string): void {
  if (!folders.includes(folder)) folders.push(folder);
}

registerHooks({
  resolve: (specifier, context, next) => {
    if (specifier === 'spanway') return { url: entry, shortCircuit: true };
    const resolved = next(specifier, context);
    const { pathname } = new URL(resolved.url);
    if (!folders.some((folder) => resolved.url.startsWith(folder)) || pathname.includes('/node_modules/')) return resolved;
    if (pathname.endsWith('.ts')) return { ...resolved, format: 'module-typescript' };
    return pathname.endsWith('.js') ? { ...resolved, format: 'module' } : resolved;
  },
});
