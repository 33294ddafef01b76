/** A resource file says `import { defineResource } from 'spanway'`, wherever it lies: it means this installation. */
import { registerHooks } from 'node:module';

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const entry = new URL(`../index.${extension}`, import.meta.url).href;

registerHooks({
  resolve: (specifier, context, next) => (specifier === 'spanway' ? { url: entry, shortCircuit: true } : next(specifier, context)),
});
