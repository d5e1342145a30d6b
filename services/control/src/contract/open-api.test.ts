import { Validator } from '@seriousme/openapi-schema-validator';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { operations, streams } from './index.ts';
import { openApi } from './open-api.ts';
import { type Operation, paramNames, pathParams } from './operation.ts';

const table = Object.entries<Operation>(operations);

test('[AD14] the OpenAPI document is valid, and names every operation once', async () => {
  const document = openApi('1.2.3', '.');
  const { valid, errors } = await new Validator().validate(structuredClone(document) as Record<string, unknown>);
  expect(errors).toBeUndefined();
  expect(valid).toBe(true);
  const text = JSON.stringify(document);
  const ids = [...text.matchAll(/"operationId":"(\w+)"/g)].map(([, id]) => id);
  expect(ids.sort()).toEqual(Object.keys({ ...operations, ...streams }).sort());
  const shared = (document['components'] as { schemas: object }).schemas;
  for (const [, name = ''] of text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g))
    expect(shared).toHaveProperty(name);
  expect(text).not.toContain('$defs');
});

test.each(table)('%s has its own id, a known path and a way to be called', (id, operation) => {
  expect(operation.id).toBe(id);
  for (const name of paramNames(operation.path)) expect(pathParams).toHaveProperty(name);
  if (operation.method === 'GET') expect(Object.keys(operation.body.shape)).toEqual([]);
  // Nobody has a role in what no path names.
  const hasRole = !['anyone', 'signed-in', 'operator'].includes(operation.needs);
  expect(/:organisationId|:appId/.test(operation.path)).toBe(hasRole);
});

test('no two operations are at one place', () => {
  const places = table.map(([, { method, path }]) => `${method} ${path.replaceAll(/:\w+/g, ':')}`);
  expect(new Set(places).size).toBe(places.length);
});

test.each(table.filter(([, { creates }]) => creates === true))(
  '[AD13] %s says which field of its answer is a secret, if one is',
  (_id, { reply, shownOnce }) => {
    const fields = reply instanceof z.ZodObject ? Object.keys(reply.shape) : [];
    const secrets = fields.filter((field) => /secret|token|password|code/i.test(field) && field !== 'accessToken');
    expect(secrets).toEqual(shownOnce === undefined ? [] : [shownOnce]);
    expect(fields.includes('wasShown')).toBe(shownOnce !== undefined);
  },
);
