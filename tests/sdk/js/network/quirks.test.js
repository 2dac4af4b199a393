// What the JavaScript SDK alone sends (wire-api.md §1.3-1.5). Each test looks at the request first, so that it says when an SDK no longer does it.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createAdvancedClient, withAdditionalInterceptors, withProfile } from '@scaleway/sdk-client';
import { S2SVpnv1alpha1 } from '@scaleway/sdk-s2s-vpn';

import { bad, customer, env, policy, profile, run, sent, vpcs, vpn } from './lab.js';

const last = () => sent.at(-1);

test('GET has neither body nor content type', async (t) => {
  const { id } = await policy(t);
  assert.equal((await vpn.getRoutingPolicy({ routingPolicyId: id })).id, id);
  assert.deepEqual([last().method, last().body, last().headers.get('content-type')], ['GET', null, null]);
  assert.equal(last().headers.get('accept'), 'application/json');
});

test('bodies have a content type with a charset', async (t) => {
  await policy(t);
  assert.deepEqual([last().method, last().headers.get('content-type')], ['POST', 'application/json; charset=utf-8']);
});

test('what is undefined is left out, and the project is filled in', async (t) => {
  const made = await customer(t, '203.0.113.60');
  assert.deepEqual(JSON.parse(last().body), {
    name: run, asn: 65020, tags: [run], ipv4_public: '203.0.113.60', project_id: env('SCW_DEFAULT_PROJECT_ID'),
  });
  await vpn.updateCustomerGateway({ gatewayId: made.id, asn: 65021 });
  assert.equal(last().body, '{"asn":65021}');
});

test('booleans are in lower case', async (t) => {
  const { id } = await policy(t, true);
  const found = await vpn.listRoutingPolicies({ name: run, ipv6: true });
  assert.match(last().url, /[?&]ipv6=true(&|$)/);
  assert.ok(found.routingPolicies.some((item) => item.id === id));
});

test('lists repeat their key', async (t) => {
  const { id } = await policy(t);
  const found = await vpn.listRoutingPolicies({ tags: ["nobody's one", run] });
  assert.ok(last().url.includes(`tags=nobody%27s+one&tags=${run}`), last().url);
  assert.ok(found.routingPolicies.some((item) => item.id === id));
});

test('lists are not filtered by the project of the profile', async (t) => {
  const { id } = await policy(t);
  const found = await vpn.listRoutingPolicies({ name: run });
  assert.ok(!last().url.includes('project_id'), last().url);
  assert.ok(found.routingPolicies.some((item) => item.id === id));
});

test('all pages: the first without a number, the others at once', async (t) => {
  const made = [];
  for (let index = 0; index < 5; index += 1) made.push((await policy(t)).id);
  const before = sent.length;
  const found = await vpn.listRoutingPolicies({ tags: [run], pageSize: 1, orderBy: 'created_at_desc' }).all();
  assert.deepEqual(found.slice(0, 5).map(({ id }) => id), made.toReversed());
  const pages = sent.slice(before).map(({ url }) => new URL(url).searchParams.get('page'));
  assert.equal(pages[0], null);
  assert.deepEqual(pages.slice(1), found.slice(1).map((_, index) => String(index + 2)));
});

test('actions send an empty object', async () => {
  const vpc = await vpcs.createVPC({ name: run, enableRouting: true });
  try {
    assert.equal((await vpcs.enableRouting({ vpcId: vpc.id })).routingEnabled, true);
    assert.equal(last().body, '{}');
  } finally {
    await vpcs.deleteVPC({ vpcId: vpc.id });
  }
});

test('a client with a session has its token in another header', async () => {
  const { secretKey, accessKey, ...rest } = profile();
  let headers;
  const session = {
    request: ({ request }) => {
      const changed = new Request(request);
      changed.headers.set('x-session-token', secretKey);
      headers = changed.headers;
      return changed;
    },
  };
  const client = createAdvancedClient(withProfile(rest), withAdditionalInterceptors([session]));
  assert.ok((await new S2SVpnv1alpha1.API(client).listVpnGatewayTypes()).totalCount > 0);
  assert.deepEqual([headers.get('x-auth-token'), headers.get('x-session-token')], [null, secretKey]);
  assert.ok(accessKey);
});

test('answers have exactly the content type that the client compares with', () => {
  assert.ok(sent.length > 0);
  assert.deepEqual(bad, []);
});
