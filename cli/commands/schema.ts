/** `spanway schema print|apply|check`: the DDL, what is missing made, or how a database differs. */
import { openStore } from '../../ports/store/index.ts';
import { SYSTEM_TABLES } from '../../schemas/envelope/tables.ts';
import { spannerDdl } from '../../schemas/resource/ddl.ts';
import type { Config } from '../config.ts';
import { checkDataIsThere, counted } from '../operator.ts';
import { ResourceFolder } from '../resource-folder.ts';
import { applySchema, provision } from '../provision.ts';

/** Spanner's DDL, each statement ended by a semicolon. */
export async function schemaPrint(config: Config): Promise<void> {
  const { current } = await ResourceFolder.open(config.schemas);
  process.stdout.write(
    spannerDdl([...SYSTEM_TABLES, ...current.tables()])
      .map((statement) => `${statement};\n`)
      .join('\n'),
  );
}

export async function schemaApply(config: Config, options: { readonly provision: boolean }): Promise<void> {
  const { current } = await ResourceFolder.open(config.schemas);
  if (options.provision) await provision(config);
  const { applied, differences } = await applySchema(config, current);
  for (const statement of applied) process.stdout.write(`${statement};\n`);
  process.stdout.write(applied.length === 0 ? 'Nothing is missing.\n' : `${counted(applied.length, 'statement')} applied.\n`);
  report(differences);
}

/** Exits with 1 where anything is missing or differs. */
export async function schemaCheck(config: Config): Promise<void> {
  const { current } = await ResourceFolder.open(config.schemas);
  checkDataIsThere(config, 'store');
  const store = await openStore(config.store);
  try {
    const { missing, differences } = await store.compare([...SYSTEM_TABLES, ...current.tables()]);
    report([...missing.map((statement) => `missing: ${statement}`), ...differences]);
    if (missing.length + differences.length === 0) process.stdout.write('The database fits the resources.\n');
  } finally {
    await store.close();
  }
}

function report(differences: readonly string[]): void {
  for (const difference of differences) process.stdout.write(`${difference}\n`);
  if (differences.length > 0) process.exitCode = 1;
}
