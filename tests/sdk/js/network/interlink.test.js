// The official JavaScript SDK (sdk-interlink 1.4.0) against a running service: the tenant's side of InterLink. What partners and operators
// do has no SDK and goes through the extension API.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Errors } from '@scaleway/sdk-client';
import { Interlinkv1beta1 } from '@scaleway/sdk-interlink';

import { bad, client, env, failure, missing, run, sent, uuid, vpcs } from './lab.js';

const links = new Interlinkv1beta1.API(client);
const undo = [];
let pop, partner, dedicated, partnerKey;

/** A call of the extension API, which no SDK has. */
const call = async (method, path, body, key = env('SCW_SECRET_KEY')) => {
  const response = await fetch(`${env('SCW_API_URL')}/causeway/v1${path}`, {
    method, headers: { 'X-Auth-Token': key }, body: method === 'GET' || method === 'DELETE' ? undefined : JSON.stringify(body ?? {}),
  });
  const text = await response.text();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
  return text === '' ? undefined : JSON.parse(text);
};
/** Links that both sides have deleted can be read for a day, and keep for so long what they were ordered from. */
const takeAway = (path) => call('DELETE', path).catch((error) => assert.match(error.message, /resource_still_in_use/));
const add = async (kind, fields) => {
  const made = await call('POST', `/operator/${kind}`, fields);
  undo.unshift(() => takeAway(`/operator/${kind}/${made.id}`));
  return made;
};
const answer = (linkId, verb, body) => call('POST', `/partner/links/${linkId}/${verb}`, body, partnerKey.secret_key);

before(async () => {
  for (const size of [50, 100, 200]) await call('PUT', `/operator/link-bandwidths/${size}`, { price_per_hour: 1000 });
  pop = await add('pops', { name: `- ${run}`, city: 'Paris', hosting_provider_name: `Host of ${run}`, link_bandwidths_mbps: [50, 100, 200] });
  // No two ports share a wire, whatever their PoPs.
  const wire = (end) => ({ kind: 'vlan', interface: `e${pop.id.slice(0, 8)}${end}` });
  partner = await add('partners', { name: `${run}-ix`, asn: 39801, contact_email: 'l2@example.net', portal_url: 'https://example.net/' });
  await add('ports', {
    name: `${run}-partner`, pop_id: pop.id, partner_id: partner.id, attachment: wire('a'), capacity_mbps: 1000,
  });
  dedicated = await add('dedicated-connections', {
    name: `${run}-dedicated`, project_id: env('SCW_DEFAULT_PROJECT_ID'), pop_id: pop.id, bandwidth_mbps: 200, tags: [run],
  });
  await add('ports', {
    name: `${run}-own`, pop_id: pop.id, connection_id: dedicated.id, attachment: wire('b'), capacity_mbps: 200,
  });
  partnerKey = await call('POST', '/operator/api-keys', { role: 'partner', partner_id: partner.id, project_id: env('SCW_DEFAULT_PROJECT_ID') });
  undo.unshift(() => call('DELETE', `/operator/api-keys/${partnerKey.access_key}`));
});

after(async () => {
  for (const step of undo) await step();
  assert.deepEqual(bad, []);
});

const order = (t, more = {}) => ordered(t, { partnerId: partner.id, ...more });
const ordered = async (t, more) => {
  const link = await links.createLink({ name: run, popId: pop.id, bandwidthMbps: 50, tags: ['js', run], ...more });
  t.after(async () => {
    const left = await links.getLink({ linkId: link.id }).catch(() => undefined);
    if (!left || ['deleted', 'deprovisioning'].includes(left.status)) return;
    await links.disableRoutePropagation({ linkId: link.id });
    await links.deleteLink({ linkId: link.id });
  });
  return link;
};
const settledLink = (linkId) => links.waitForLink({ linkId }, { timeout: 90, minDelay: 1, maxDelay: 1 });
/** What a link in service that should have `status` has: without a node (the tests' user is not root, say) nobody carries it. */
const inService = async (status) => ((await call('GET', '/operator/nodes')).total_count === 0 ? 'all_down' : status);
const linkPolicy = async (t, isIpv6 = false) => {
  const made = await links.createRoutingPolicy({
    name: run, tags: [run], isIpv6, prefixFilterIn: [isIpv6 ? 'fd99::/48' : '10.99.0.0/16'], prefixFilterOut: [],
  });
  t.after(() => links.deleteRoutingPolicy({ routingPolicyId: made.id }));
  return made;
};
const wrong = async (promise) => {
  const error = await failure(promise, Errors.InvalidArgumentsError, 400);
  return error.details.map(({ argumentName, reason }) => [argumentName, reason]);
};

test('PoPs, partners and dedicated connections', async () => {
  const read = await links.getPop({ popId: pop.id });
  assert.deepEqual([read.name, read.city, read.availableLinkBandwidthsMbps], [`- ${run}`, 'Paris', [50, 100, 200]]);
  const filters = { name: run, hostingProviderName: `host of ${run}`, partnerId: partner.id, linkBandwidthMbps: 100, dedicatedAvailable: true };
  assert.deepEqual((await links.listPops(filters).all()).map(({ id }) => id), [pop.id]);
  assert.equal((await links.listPops({ name: run, linkBandwidthMbps: 12345 })).totalCount, 0);
  const there = await links.listPartners({ popIds: [pop.id], orderBy: 'name_desc' }).all();
  assert.deepEqual(there.map(({ name, contactEmail }) => [name, contactEmail]), [[`${run}-ix`, 'l2@example.net']]);
  assert.ok((await links.getPartner({ partnerId: partner.id })).createdAt instanceof Date);
  const own = await links.waitForDedicatedConnection({ connectionId: dedicated.id }, { timeout: 90, minDelay: 1, maxDelay: 1 });
  assert.deepEqual([own.status, own.bandwidthMbps, own.popId], ['active', 200, pop.id]);
  assert.equal((await links.getDedicatedConnection({ connectionId: dedicated.id })).name, `${run}-dedicated`);
  const listed = await links.listDedicatedConnections({ name: run, status: 'active', popId: pop.id, tags: [run] }).all();
  assert.deepEqual(listed.map(({ id }) => id), [dedicated.id]);
});

test('a hosted link', async (t) => {
  const link = await order(t);
  assert.deepEqual([link.status, link.bgpV4Status, link.enableRoutePropagation, link.self], ['requested', 'disabled', false, undefined]);
  assert.match(link.partner.pairingKey, uuid);
  assert.deepEqual([link.scwBgpConfig.asn, link.peerBgpConfig.asn], [12876, 39801]);
  assert.equal((await settledLink(link.id)).status, 'requested');
  const filters = { name: run, status: 'requested', kind: 'hosted', pairingKey: link.partner.pairingKey, tags: [run], orderBy: 'status_asc' };
  assert.deepEqual((await links.listLinks(filters).all()).map(({ id }) => id), [link.id]);
  assert.equal((await links.listLinks({ ...filters, kind: 'self_hosted' })).totalCount, 0);
  const changed = await links.updateLink({ linkId: link.id, name: `${run} renamed` });
  assert.deepEqual([changed.name, changed.tags], [`${run} renamed`, ['js', run]]);

  const vpc = await vpcs.createVPC({ name: run, enableRouting: true });
  assert.equal((await links.attachVpc({ linkId: link.id, vpcId: vpc.id })).vpcId, vpc.id);
  assert.equal((await links.enableRoutePropagation({ linkId: link.id })).enableRoutePropagation, true);
  assert.equal(sent.at(-1).body, '{}');
  const held = await failure(links.deleteLink({ linkId: link.id }), Errors.PreconditionFailedError, 412);
  assert.match(held.helpMessage, /propagation/);
  assert.equal((await links.disableRoutePropagation({ linkId: link.id })).enableRoutePropagation, false);
  assert.equal((await links.detachVpc({ linkId: link.id })).vpcId, undefined);
  await vpcs.deleteVPC({ vpcId: vpc.id });

  await answer(link.id, 'accept');
  assert.equal((await links.getLink({ linkId: link.id })).status, 'provisioning');
  await answer(link.id, 'provisioned');
  assert.equal((await settledLink(link.id)).status, await inService('active'));
  assert.equal((await links.deleteLink({ linkId: link.id })).status, 'deprovisioning');
  await answer(link.id, 'deprovisioned');
  assert.equal((await links.getLink({ linkId: link.id })).status, 'deleted');
});

test('a refused link', async (t) => {
  const link = await order(t);
  await answer(link.id, 'refuse', { reason: 'no port is free' });
  const refused = await links.getLink({ linkId: link.id });
  assert.deepEqual([refused.status, refused.partner.disapprovedReason], ['refused', 'no port is free']);
  assert.equal((await links.deleteLink({ linkId: link.id })).status, 'deleted');
  const gone = await failure(links.getLink({ linkId: link.id }), Errors.ResourceNotFoundError, 404);
  assert.deepEqual([gone.resource, gone.resourceId], ['link', link.id]);
});

test('policies of a self-hosted link', async (t) => {
  const [v4, other, v6] = [await linkPolicy(t), await linkPolicy(t), await linkPolicy(t, true)];
  const link = await ordered(t, { connectionId: dedicated.id, vlan: 1502, peerAsn: 65001, routingPolicyV4Id: v4.id });
  const settled = await settledLink(link.id);
  assert.deepEqual([settled.status, settled.vlan, settled.self.connectionId], [await inService('ready'), 1502, dedicated.id]);
  assert.deepEqual([settled.routingPolicyV4Id, settled.bgpV4Status, settled.bgpV6Status], [v4.id, 'down', 'disabled']);
  assert.equal((await links.attachRoutingPolicy({ linkId: link.id, routingPolicyId: v6.id })).routingPolicyV6Id, v6.id);
  await failure(links.attachRoutingPolicy({ linkId: link.id, routingPolicyId: other.id }), Errors.PreconditionFailedError, 412);
  assert.equal((await links.setRoutingPolicy({ linkId: link.id, routingPolicyId: other.id })).routingPolicyV4Id, other.id);
  assert.equal((await links.detachRoutingPolicy({ linkId: link.id, routingPolicyId: v6.id })).routingPolicyV6Id, undefined);
  assert.deepEqual(await wrong(ordered(t, { connectionId: dedicated.id, vlan: 1502 })), [['vlan', 'constraint']]);
  const stock = await failure(ordered(t, { connectionId: dedicated.id, bandwidthMbps: 200 }), Errors.OutOfStockError, 503);
  assert.ok(stock.resource);
  assert.deepEqual((await links.listRoutingPolicies({ name: run, ipv6: true }).all()).map(({ id }) => id), [v6.id]);
  assert.deepEqual(await links.getRoutingPolicy({ routingPolicyId: v6.id }), v6);
  const changed = await links.updateRoutingPolicy({ routingPolicyId: v6.id, prefixFilterOut: ['fd00::/8'] });
  assert.deepEqual([changed.prefixFilterIn, changed.prefixFilterOut], [['fd99::/48'], ['fd00::/8']]);
  // What is attached stays; it goes once the link has gone.
  await failure(links.deleteRoutingPolicy({ routingPolicyId: other.id }), Errors.PreconditionFailedError, 412);
  assert.ok(['deleted', 'deprovisioning'].includes((await links.deleteLink({ linkId: link.id })).status));
});

test('bad orders of links', async (t) => {
  // The SDK sends no more than one parent.
  assert.deepEqual(await wrong(ordered(t, {})), [['partner_id', 'constraint']]);
  assert.deepEqual(await wrong(order(t, { bandwidthMbps: 51 })), [['bandwidth_mbps', 'constraint']]);
  const unknown = await failure(order(t, { popId: missing }), Errors.ResourceNotFoundError, 404);
  assert.deepEqual([unknown.resource, unknown.resourceId], ['pop', missing]);
  const link = await order(t);
  await call('POST', `/links/${link.id}/lock`, { reason: 'abuse' });
  const locked = await failure(links.detachVpc({ linkId: link.id }), Errors.ResourceLockedError, 423);
  assert.deepEqual([locked.resource, locked.resourceId], ['link', link.id]);
  await call('POST', `/links/${link.id}/unlock`);
});
