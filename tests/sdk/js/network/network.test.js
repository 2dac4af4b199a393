// The official JavaScript SDK (sdk-client 1.3.3) against a running service: s2s-vpn, vpc and ipam.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createClient, Errors } from '@scaleway/sdk-client';
import { S2SVpnv1alpha1 } from '@scaleway/sdk-s2s-vpn';
import { Vpcv2 } from '@scaleway/sdk-vpc';

import {
  bad, cipher, classic, client, customer, env, esp, extension, failure, ips, lock, missing, policy, profile, removeGateway, request, run,
  settled, stranger, vpcs, vpn, withConnection,
} from './lab.js';

let vpc, network, gateway;

before(async () => {
  vpc = await vpcs.createVPC({ name: run, tags: ['js'], enableRouting: false });
  network = await vpcs.createPrivateNetwork({
    name: run, vpcId: vpc.id, subnets: ['10.78.0.0/24'], defaultRoutePropagationEnabled: false,
  });
  gateway = await vpn.createVpnGateway({ name: run, gatewayType: 'VGW-S', privateNetworkId: network.id, tags: ['js', run] });
  assert.equal(gateway.status, 'provisioning');
  gateway = await settled(gateway.id);
});

after(async () => {
  await removeGateway(gateway.id, Errors.ResourceNotFoundError);
  await vpcs.deletePrivateNetwork({ privateNetworkId: network.id });
  await vpcs.deleteVPC({ vpcId: vpc.id });
  assert.deepEqual(bad, []);
});

test('gateway types, page by page', async () => {
  const types = await vpn.listVpnGatewayTypes({ pageSize: 1 }).all();
  const small = types.find((type) => type.name === 'VGW-S');
  assert.ok(small.bandwidth > 0 && small.allowedConnections > 0);
  assert.equal((await vpn.listVpnGatewayTypes()).totalCount, types.length);
});

test('VPC, Private Network and addresses', async () => {
  const read = await vpcs.getVPC({ vpcId: vpc.id });
  assert.equal(read.routingEnabled, true);
  assert.equal(read.privateNetworkCount, 1);
  assert.ok(read.createdAt instanceof Date && !Number.isNaN(read.createdAt.getTime()));
  assert.deepEqual((await vpcs.updateVPC({ vpcId: vpc.id, tags: ['a', 'b'] })).tags, ['a', 'b']);
  assert.deepEqual((await vpcs.listVPCs({ name: run }).all()).map(({ id }) => id), [vpc.id]);
  assert.equal((await vpcs.getPrivateNetwork({ privateNetworkId: network.id })).subnets[0].subnet, '10.78.0.0/24');
  assert.equal((await vpcs.listPrivateNetworks({ vpcId: vpc.id })).totalCount, 1);
  assert.equal((await vpcs.enableCustomRoutesPropagation({ vpcId: vpc.id })).customRoutesPropagationEnabled, true);
  const renamed = await vpcs.updatePrivateNetwork({ privateNetworkId: network.id, tags: ['b', 'a'] });
  assert.deepEqual([renamed.name, renamed.tags], [run, ['b', 'a']]);
  assert.equal((await vpcs.enableDHCP({ privateNetworkId: network.id })).dhcpEnabled, true);
  const acl = await vpcs.getAcl({ vpcId: vpc.id, isIpv6: false });
  assert.deepEqual([acl.rules, acl.defaultPolicy], [[], 'accept']);
  assert.equal((await vpcs.listSubnets({ vpcId: vpc.id, pageSize: 1 }).all()).length, 2);
  const attached = await ips.listIPs({ resourceId: gateway.id, attached: true, pageSize: 1 }).all();
  assert.equal(attached.length, 4);
  assert.ok(attached.every(({ resource }) => resource.type === 'vpn_gateway'));
  const booked = await ips.bookIP({ source: { privateNetworkId: network.id }, isIpv6: false, tags: ['t'] });
  assert.equal(booked.source.subnetId, network.subnets[0].id);
  assert.deepEqual((await ips.updateIP({ ipId: booked.id, tags: ['u'] })).tags, ['u']);
  assert.equal((await ips.getIP({ ipId: booked.id })).address, booked.address);
  await ips.releaseIP({ ipId: booked.id });
  await failure(ips.getIP({ ipId: booked.id }), Errors.ResourceNotFoundError, 404);
});

test('routes, access lists and addresses of custom resources', async () => {
  const rules = [{
    protocol: 'tcp', source: '0.0.0.0/0', srcPortLow: 0, srcPortHigh: 0, destination: '10.78.0.0/24', dstPortLow: 22, dstPortHigh: 23,
    action: 'drop', description: 'no shells',
  }];
  const set = await vpcs.setAcl({ vpcId: vpc.id, rules, isIpv6: false, defaultPolicy: 'accept' });
  assert.deepEqual([set.rules, set.defaultPolicy], [rules, 'accept']);
  assert.deepEqual((await vpcs.getAcl({ vpcId: vpc.id, isIpv6: false })).rules, rules);
  const wrong = vpcs.setAcl({ vpcId: vpc.id, rules, isIpv6: true, defaultPolicy: 'accept' });
  const refused = await failure(wrong, Errors.InvalidArgumentsError, 400);
  assert.deepEqual(refused.details.map(({ argumentName }) => argumentName).sort(), ['rules[0].destination', 'rules[0].source']);
  await vpcs.setAcl({ vpcId: vpc.id, rules: [], isIpv6: false, defaultPolicy: 'accept' });

  const router = { macAddress: 'bc:24:11:74:d0:5b', name: 'router' };
  const { id: ipId } = await ips.bookIP({ source: { privateNetworkId: network.id }, isIpv6: false });
  const attached = await ips.attachIP({ ipId, resource: router });
  assert.deepEqual(attached.resource, { type: 'custom', id: ipId, macAddress: 'BC:24:11:74:D0:5B', name: 'router' });
  const named = await ips.updateIP({ ipId, reverses: [{ hostname: 'router.example.net' }] });
  assert.deepEqual(named.reverses.map(({ hostname }) => hostname), ['router.example.net']);
  const route = await vpcs.createRoute({ description: '', vpcId: vpc.id, destination: '10.98.0.0/16', nexthopResourceId: ipId });
  assert.deepEqual([route.description, route.isReadOnly, route.nexthopPrivateNetworkId], ['Custom route', false, network.id]);
  assert.deepEqual(await vpcs.getRoute({ routeId: route.id }), route);
  assert.equal((await vpcs.updateRoute({ routeId: route.id, description: 'd' })).description, 'd');
  const other = { macAddress: '02:00:00:00:00:01' };
  assert.equal((await ips.moveIP({ ipId, fromResource: router, toResource: other })).resource.macAddress, '02:00:00:00:00:01');
  const held = await failure(ips.detachIP({ ipId, resource: other }), Errors.PreconditionFailedError, 412);
  assert.equal(held.precondition, 'resource_still_in_use');
  await vpcs.deleteRoute({ routeId: route.id });
  const gone = await failure(vpcs.getRoute({ routeId: route.id }), Errors.ResourceNotFoundError, 404);
  assert.deepEqual([gone.resource, gone.resourceId], ['unknown', '']);
  assert.ok(!(await ips.detachIP({ ipId, resource: other })).resource);
  await ips.releaseIPSet({ ipIds: [ipId] });
  await failure(ips.getIP({ ipId }), Errors.ResourceNotFoundError, 404);
});

test('gateway', async () => {
  const read = await vpn.getVpnGateway({ gatewayId: gateway.id });
  assert.equal(read.zone, client.settings.defaultZone);
  assert.equal(read.projectId, client.settings.defaultProjectId);
  assert.ok(read.publicConfig.ipamIpv4Id && read.publicConfig.ipamIpv6Id && read.ipamPrivateIpv4Id);
  assert.equal(read.privateConfig, undefined);
  await settled(gateway.id);
  const changed = await vpn.updateVpnGateway({ gatewayId: gateway.id, name: `${run} renamed` });
  assert.deepEqual([changed.name, changed.tags], [`${run} renamed`, ['js', run]]);
  const filters = {
    name: run, tags: ['js'], gatewayTypes: ['VGW-S'], privateNetworkIds: [network.id], orderBy: 'type_desc', projectId: read.projectId,
    statuses: ['active', 'configuring', 'failed'],
  };
  assert.deepEqual((await vpn.listVpnGateways(filters).all()).map(({ id }) => id), [gateway.id]);
  assert.equal((await vpn.listVpnGateways({ ...filters, gatewayTypes: ['VGW-L'] })).totalCount, 0);
});

test('customer gateway', async (t) => {
  const made = await customer(t, '203.0.113.10');
  assert.deepEqual([made.publicIpv4, made.publicIpv6, made.asn], ['203.0.113.10', undefined, 65020]);
  const changed = await vpn.updateCustomerGateway({ gatewayId: made.id, ipv6Public: '2001:db8:fffe::10', asn: 4200000002 });
  assert.deepEqual([changed.publicIpv4, changed.publicIpv6, changed.asn], ['203.0.113.10', '2001:db8:fffe::10', 4200000002]);
  assert.deepEqual(await vpn.getCustomerGateway({ gatewayId: made.id }), changed);
  const listed = await vpn.listCustomerGateways({ name: run, tags: [run], orderBy: 'name_asc' });
  assert.deepEqual(listed.gateways, [changed]);
});

test('routing policies, page by page', async (t) => {
  const made = [await policy(t), await policy(t, true), await policy(t), await policy(t), await policy(t)];
  const ids = made.map(({ id }) => id);
  const all = await vpn.listRoutingPolicies({ tags: [run], pageSize: 2 }).all();
  assert.deepEqual(all.map(({ id }) => id), ids);
  const pages = [];
  for await (const page of vpn.listRoutingPolicies({ tags: [run], pageSize: 2, orderBy: 'created_at_desc' })) pages.push(page);
  assert.deepEqual(pages.flat().map((found) => found.id ?? found), ids.toReversed());
  assert.deepEqual((await vpn.listRoutingPolicies({ tags: [run], ipv6: true })).routingPolicies, [made[1]]);
  const order = ['10.99.0.0/16', '10.97.0.0/16'];
  const changed = await vpn.updateRoutingPolicy({ routingPolicyId: ids[0], prefixFilterIn: order });
  assert.deepEqual([changed.prefixFilterIn, changed.prefixFilterOut], [order, ['10.78.0.0/24']]);
  assert.deepEqual(await vpn.getRoutingPolicy({ routingPolicyId: ids[0] }), changed);
});

test('connection', async (t) => {
  const [peer, rules, other] = [await customer(t, '203.0.113.11'), await policy(t), await policy(t)];
  const wanted = request(gateway.id, peer, {
    bgpConfigIpv4: { routingPolicyId: rules.id, privateIp: '169.254.210.1/30', peerPrivateIp: '169.254.210.2/30' },
  });
  await withConnection(wanted, async (made) => {
    const connectionId = made.id;
    assert.equal(made.status, 'ready');
    assert.deepEqual([made.tunnelStatus, made.tunnelStatusIpv4, made.bgpStatusIpv4, made.bgpStatusIpv6],
      ['down', 'unknown_tunnel_status', 'down', 'disabled']);
    assert.deepEqual(made.bgpSessionIpv4,
      { routingPolicyId: rules.id, privateIp: '169.254.210.1/30', peerPrivateIp: '169.254.210.2/30' });
    assert.equal(made.bgpSessionIpv6, undefined);
    assert.deepEqual([made.ikev2Ciphers, made.espCiphers], [[cipher], [{ ...esp, integrity: undefined }, classic]]);
    assert.equal(made.secretRevision, 1);
    const listed = await vpn.listConnections({
      vpnGatewayIds: [gateway.id], customerGatewayIds: [peer.id], routingPolicyIds: [rules.id], isIpv6: false,
      routePropagationEnabled: false, statuses: ['down'], name: run, tags: [run], orderBy: 'status_desc',
    }).all();
    assert.deepEqual(listed.map(({ id }) => id), [connectionId]);
    const changed = await vpn.updateConnection({ connectionId, name: `${run} 2`, espCiphers: [classic] });
    assert.deepEqual([changed.name, changed.espCiphers, changed.ikev2Ciphers, changed.initiationPolicy],
      [`${run} 2`, [classic], [cipher], 'customer_gateway']);
    assert.equal((await vpn.enableRoutePropagation({ connectionId })).routePropagationEnabled, true);
    assert.equal((await vpn.disableRoutePropagation({ connectionId })).routePropagationEnabled, false);
    const set = await vpn.setRoutingPolicy({ connectionId, routingPolicyV4: other.id });
    assert.equal(set.bgpSessionIpv4.routingPolicyId, other.id);
    const detached = await vpn.detachRoutingPolicy({ connectionId, routingPolicyV4: other.id });
    assert.equal(detached.bgpStatusIpv4, 'disabled');
    const renewed = await vpn.renewConnectionPsk({ connectionId });
    assert.equal(renewed.connection.id, connectionId);
    assert.equal(renewed.preSharedKey, '');
    assert.equal((await vpn.getConnection({ connectionId })).secretRevision, renewed.connection.secretRevision);
    await vpn.deleteConnection({ connectionId });
    await failure(vpn.getConnection({ connectionId }), Errors.ResourceNotFoundError, 404);
  });
});

test('invalid_arguments', async () => {
  const error = await failure(
    vpn.createCustomerGateway({ name: '', asn: 0, ipv4Public: 'nonsense' }), Errors.InvalidArgumentsError, 400);
  const details = Object.fromEntries(error.details.map(({ argumentName, reason }) => [argumentName, reason]));
  assert.deepEqual(details, { name: 'required', asn: 'constraint', ipv4_public: 'format' });
  assert.ok(error.details.every(({ helpMessage }) => helpMessage));
});

test('denied_authentication', async () => {
  const error = await failure(stranger.listConnections(), Errors.DeniedAuthenticationError, 401);
  assert.deepEqual([error.method, error.reason], ['api_key', 'not_found']);
});

test('not_found', async () => {
  for (const [resource, attempt] of [
    ['vpn_gateway', () => vpn.getVpnGateway({ gatewayId: missing })],
    ['connection', () => vpn.getConnection({ connectionId: missing })],
    ['customer_gateway', () => vpn.getCustomerGateway({ gatewayId: missing })],
    ['routing_policy', () => vpn.getRoutingPolicy({ routingPolicyId: missing })],
    ['vpc', () => vpcs.getVPC({ vpcId: missing })],
    ['private_network', () => vpcs.getPrivateNetwork({ privateNetworkId: missing })],
    ['ip', () => ips.getIP({ ipId: missing })],
  ]) {
    const error = await failure(attempt(), Errors.ResourceNotFoundError, 404);
    assert.deepEqual([error.resource, error.resourceId], [resource, missing]);
  }
});

test('precondition_failed and already_exists', async (t) => {
  const [peer, rules] = [await customer(t, '203.0.113.12'), await policy(t)];
  const wanted = request(gateway.id, peer, { bgpConfigIpv4: { routingPolicyId: rules.id } });
  await withConnection(wanted, async (made) => {
    await settled(gateway.id);
    for (const attempt of [
      () => vpn.deleteVpnGateway({ gatewayId: gateway.id }),
      () => vpn.deleteCustomerGateway({ gatewayId: peer.id }),
      () => vpn.deleteRoutingPolicy({ routingPolicyId: rules.id }),
      () => vpcs.deletePrivateNetwork({ privateNetworkId: network.id }),
      () => vpcs.deleteVPC({ vpcId: vpc.id }),
    ]) {
      const error = await failure(attempt(), Errors.PreconditionFailedError, 412);
      assert.equal(error.precondition, 'resource_still_in_use');
    }
    const error = await failure(vpn.createConnection(wanted), Errors.AlreadyExistsError, 409);
    assert.deepEqual([error.resource, error.resourceId], ['connection', made.id]);
  });
});

test('locked', async (t) => {
  await withConnection(request(gateway.id, await customer(t, '203.0.113.13')), async ({ id }) => {
    await lock(`/connections/${id}/lock`, 'a test');
    try {
      assert.equal((await vpn.getConnection({ connectionId: id })).status, 'locked');
      const error = await failure(vpn.enableRoutePropagation({ connectionId: id }), Errors.ResourceLockedError, 423);
      assert.deepEqual([error.resource, error.resourceId], ['connection', id]);
    } finally {
      await lock(`/connections/${id}/unlock`);
    }
  });
});

test('permissions_denied', async () => {
  const key = await extension('/operator/api-keys', { role: 'support', description: run });
  const support = createClient({ ...profile(), accessKey: key.access_key, secretKey: key.secret_key });
  assert.equal((await new S2SVpnv1alpha1.API(support).getVpnGateway({ gatewayId: gateway.id })).id, gateway.id);
  for (const attempt of [
    () => new S2SVpnv1alpha1.API(support).updateVpnGateway({ gatewayId: gateway.id, name: run }),
    () => new Vpcv2.API(support).createVPC({ name: run, enableRouting: true }),
  ]) {
    const error = await failure(attempt(), Errors.PermissionsDeniedError, 403);
    assert.equal(error.list.length, 1);
    assert.ok(error.list[0].action && error.list[0].resource);
  }
});

test('too_many_requests', async () => {
  // The service is another one, which takes a request per second of a key.
  const limited = new S2SVpnv1alpha1.API(createClient({
    ...profile(), apiURL: env('LIMITED_API_URL'), accessKey: env('LIMITED_ACCESS_KEY'), secretKey: env('LIMITED_SECRET_KEY'),
  }));
  const hundred = async () => {
    for (let index = 0; index < 100; index += 1) await limited.listConnections();
  };
  const error = await failure(hundred(), Errors.TooManyRequestsError, 429);
  assert.deepEqual(error.limit, { quota: 1, windowSeconds: 1 });
  assert.ok(error.resetSeconds >= 1 && error.helpMessage);
});

test('unavailable, internal and method_not_allowed', async () => {
  // The service is another one, whose disk is full, and which cannot read what it once wrote of a VPC. The SDK has classes for none of
  // these: the generic one has the status and the body.
  const broken = createClient({
    ...profile(), apiURL: env('BROKEN_API_URL'), accessKey: env('BROKEN_ACCESS_KEY'), secretKey: env('BROKEN_SECRET_KEY'),
    defaultProjectId: env('BROKEN_PROJECT_ID'),
  });
  const api = new S2SVpnv1alpha1.API(broken);
  const unavailable = await failure(
    api.createCustomerGateway({ name: run, asn: 65010, ipv4Public: '203.0.113.60/32' }), Errors.ScalewayError, 503,
  );
  assert.equal(unavailable.body.type, 'unavailable');
  assert.match(unavailable.body.help_message, /disk/);
  assert.equal((await api.listCustomerGateways()).totalCount, 0);
  const internal = await failure(new Vpcv2.API(broken).listVPCs().all(), Errors.ScalewayError, 500);
  assert.deepEqual(Object.keys(internal.body).sort(), ['message', 'type']);
  assert.equal(internal.body.type, 'internal');
  // No call of the SDK asks for it; its own request and its own parsing do.
  const path = `/s2s-vpn/v1alpha1/regions/${env('SCW_DEFAULT_REGION')}/connections`;
  const refused = await failure(client.fetch({ method: 'PUT', path }), Errors.ScalewayError, 405);
  assert.equal(refused.body.type, 'method_not_allowed');
});

test('quotas_exceeded', async (t) => {
  const types = await vpn.listVpnGatewayTypes().all();
  const limit = types.find(({ name }) => name === 'VGW-S').allowedConnections;
  const peers = [];
  for (let index = 0; index <= limit; index += 1) peers.push(await customer(t, `203.0.113.${100 + index}`));
  const nest = async (index) => {
    if (index < limit) return withConnection(request(gateway.id, peers[index]), () => nest(index + 1));
    const error = await failure(vpn.createConnection(request(gateway.id, peers[index])), Errors.QuotasExceededError, 403);
    assert.deepEqual([error.list[0].quota, error.list[0].current], [limit, limit]);
    assert.ok(error.list[0].resource);
  };
  await nest(0);
});

test('transient_state', async () => {
  // The service is another one, without a node; it is thrown away, so that nothing is deleted there.
  const other = createClient({
    ...profile(), apiURL: env('NODELESS_API_URL'), accessKey: env('NODELESS_ACCESS_KEY'), secretKey: env('NODELESS_SECRET_KEY'),
    defaultProjectId: env('NODELESS_PROJECT_ID'),
  });
  const made = await new Vpcv2.API(other).createPrivateNetwork({ name: run, defaultRoutePropagationEnabled: false });
  const api = new S2SVpnv1alpha1.API(other);
  const { id } = await api.createVpnGateway({ name: run, gatewayType: 'VGW-S', privateNetworkId: made.id });
  const error = await failure(api.deleteVpnGateway({ gatewayId: id }), Errors.TransientStateError, 409);
  assert.deepEqual([error.resource, error.resourceId, error.currentState], ['vpn_gateway', id, 'provisioning']);
});

test('out_of_stock', async () => {
  const small = await vpcs.createPrivateNetwork({
    name: `${run} small`, vpcId: vpc.id, subnets: ['10.81.0.0/29'], defaultRoutePropagationEnabled: false,
  });
  const booked = [];
  try {
    await failure((async () => {
      for (let index = 0; index < 9; index += 1) {
        booked.push(await ips.bookIP({ source: { privateNetworkId: small.id }, isIpv6: false }));
      }
    })(), Errors.OutOfStockError, 503);
  } finally {
    for (const { id } of booked) await ips.releaseIP({ ipId: id });
    await vpcs.deletePrivateNetwork({ privateNetworkId: small.id });
  }
});
