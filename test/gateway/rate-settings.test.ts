import { writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigError, readConfig } from '../../cli/config.ts';
import { readRates } from '../../cli/rates.ts';
import { makeTemporaryFolder } from '../temp.ts';

let file: string;
let remove: () => Promise<void>;
beforeEach(async () => {
  const folder = await makeTemporaryFolder();
  file = `${folder.path}/rates.json`;
  remove = folder.remove;
});
afterEach(() => remove());

describe('the rates of the settings', () => {
  it('are no limit unless they are set, and a burst is that of a second unless it is given', async () => {
    expect(Object.values((await readRates(readConfig({})))('t1')).filter((rate) => rate !== undefined)).toEqual([]);
    const rates = await readRates(
      readConfig({ SPANWAY_RATE_TENANT_WRITES: '100', SPANWAY_RATE_CALLER_READS: '0.5', SPANWAY_RATE_AGENT_WRITES: '2:10' }),
    );
    expect(rates('t1')).toMatchObject({
      tenantWrites: { perSecond: 100, burst: 100 },
      callerReads: { perSecond: 0.5, burst: 1 },
      agentWrites: { perSecond: 2, burst: 10 },
    });
  });

  it.each(['0', '-1', '100001', '10:0', '10:1000001', '1e3', '10/s', ' 5', '5:'])('are refused in the form %j', (text) => {
    expect(() => readConfig({ SPANWAY_RATE_CALLER_WRITES: text })).toThrow(ConfigError);
    expect(() => readConfig({ SPANWAY_RATE_CALLER_WRITES: text })).toThrow(/SPANWAY_RATE_CALLER_WRITES is .*RATE:BURST/);
  });
});

describe('the file of tenants', () => {
  const read = async (content: string) => {
    await writeFile(file, content);
    return readRates(readConfig({ SPANWAY_RATE_TENANTS: file, SPANWAY_RATE_TENANT_WRITES: '5', SPANWAY_RATE_CALLER_WRITES: '1' }));
  };

  it('says what is different for a tenant, and leaves the rest', async () => {
    const rates = await read('{"big":{"tenantWrites":"50:100","callerWrites":"off"}}');
    expect(rates('big')).toMatchObject({ tenantWrites: { perSecond: 50, burst: 100 }, callerWrites: undefined });
    expect(rates('other')).toMatchObject({ tenantWrites: { perSecond: 5, burst: 5 }, callerWrites: { perSecond: 1, burst: 1 } });
    expect(rates('toString').tenantWrites).toEqual({ perSecond: 5, burst: 5 });
  });

  it.each([
    ['no JSON', '{', /cannot read .*rates\.json \(SPANWAY_RATE_TENANTS\); it must be a JSON file/],
    ['no object', '[]', /rates\.json \(SPANWAY_RATE_TENANTS\): the whole is \[\]; it must be an object of tenants/],
    ['a tenant that is no object', '{"t1":"5"}', /: \.t1 is "5"; it must be an object of rates/],
    ['a name that is no rate', '{"t1":{"writes":"5"}}', /: \.t1\.writes is no field of it; it may have tenantWrites, /],
    ['a rate that is no text', '{"t1":{"tenantReads":5}}', /: \.t1\.tenantReads is 5; it must be "off", or RATE/],
    ['a rate out of form', '{"t1":{"tenantReads":"5/s"}}', /: \.t1\.tenantReads is "5\/s"; it must be "off", or RATE/],
  ])('is refused with %s, saying where', async (_what, content, message) => {
    await expect(read(content)).rejects.toThrow(ConfigError);
    await expect(read(content)).rejects.toThrow(message);
  });

  it('is refused where it is missing', async () => {
    await expect(readRates(readConfig({ SPANWAY_RATE_TENANTS: file }))).rejects.toThrow(/cannot read /);
  });
});
