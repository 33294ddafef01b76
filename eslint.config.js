/** What a reviewer would otherwise have to say. Each departure from the rule sets has its reason beside it. */
import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';
import { boundaries } from './eslint.boundaries.js';

export default defineConfig(
  { ignores: ['dist/', 'node_modules/', '.spanway/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // `== null` is the one way to say null or undefined.
      eqeqeq: ['error', 'always', { null: 'ignore' }],

      // A name that starts with _ says that it is not used; a rest's siblings are there to be left out.
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true }],
      // A number reads the same in every text; what misleads there are objects, null and undefined.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // The types already keep a caller from using what a void function returns.
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // An embedded adapter's method is async by its port's contract, and throws by rejecting, without awaiting anything.
      '@typescript-eslint/require-await': 'off',
      // `[...text]` counts code points, which is what Spanner's STRING(n) counts.
      '@typescript-eslint/no-misused-spread': ['error', { allow: ['string'] }],
    },
  },
  {
    // `tsc` knows what is defined, also of plain JavaScript (`checkJs`).
    files: ['**/*.js', '**/*.mjs'],
    rules: { 'no-undef': 'off' },
  },
  {
    files: ['test/**', 'bench/**'],
    rules: {
      // A test looks at what came back of JSON and says what it expects: an expectation is the check.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      // `const { path, remove } = await makeFolder()`: if `this` were lost, the test would fail.
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  boundaries,
);
