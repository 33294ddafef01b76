/** `spanway openapi`: prints the OpenAPI document of a gateway with these resources and settings. */
import { describeGateway } from '../../producers/gateway/openapi.ts';
import type { Config } from '../config.ts';
import { ResourceFolder } from '../resource-folder.ts';

export async function openapi(config: Config): Promise<void> {
  const { current } = await ResourceFolder.open(config.schemas);
  process.stdout.write(`${JSON.stringify(describeGateway(current, config), null, 2)}\n`);
}
