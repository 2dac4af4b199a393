// What every test needs: a client that has nothing but operator.env's variables, objects that are deleted again, and assertions.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';

import { createClient, withHTTPClient, createAdvancedClient, withProfile } from '@scaleway/sdk-client';
import { Ipamv1 } from '@scaleway/sdk-ipam';
import { S2SVpnv1alpha1 } from '@scaleway/sdk-s2s-vpn';
import { Vpcv2 } from '@scaleway/sdk-vpc';

export const env = (name) => {
  const value = process.env[name];
  assert.ok(value, `${name} is missing: source DIR/operator.env first; scripts/test-sdk sets what is not in it`);
  return value;
};

export const run = `js-${randomBytes(4).toString('hex')}`;
export const missing = '0ae4cf90-0405-4318-a169-e45b3bef7676';
export const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export const profile = () => ({
  apiURL: env('SCW_API_URL'),
  accessKey: env('SCW_ACCESS_KEY'),
  secretKey: env('SCW_SECRET_KEY'),
  defaultOrganizationId: env('SCW_DEFAULT_ORGANIZATION_ID'),
  defaultProjectId: env('SCW_DEFAULT_PROJECT_ID'),
  defaultRegion: env('SCW_DEFAULT_REGION'),
  defaultZone: env('SCW_DEFAULT_ZONE'),
});

// The requests that the SDK has sent, and what they held.
export const sent = [];

// Answers that are not as wire-api.md §1.6 has them.
export const bad = [];
const inspected = async (request, options) => {
  const { method, url, headers } = request;
  sent.push({ method, url, headers, body: request.body === null ? null : await request.clone().text() });
  const response = await fetch(request, options);
  const expected = { 'content-type': 'application/json', 'x-total-count': null, 'x-content-type-options': 'nosniff' };
  for (const [name, wanted] of Object.entries(expected)) {
    const got = response.headers.get(name);
    if (got !== wanted) bad.push(`${request.method} ${request.url}: ${response.status}: ${name} is ${got}`);
  }
  if (!uuid.test(response.headers.get('x-request-id'))) bad.push(`${request.url}: no request id`);
  return response;
};

export const client = createAdvancedClient(withProfile(profile()), withHTTPClient(inspected));
export const vpn = new S2SVpnv1alpha1.API(client);
export const vpcs = new Vpcv2.API(client);
export const ips = new Ipamv1.API(client);
export const stranger = new S2SVpnv1alpha1.API(createClient({ ...profile(), secretKey: missing }));

export const settled = (gatewayId) => vpn.waitForVpnGateway({ gatewayId }, { timeout: 90, minDelay: 1, maxDelay: 1 });

/** The error that `promise` must be rejected with: of the SDK's own class, never the generic one. */
export const failure = async (promise, type, status) => {
  let error;
  try {
    await promise;
  } catch (caught) {
    error = caught;
  }
  assert.ok(error instanceof type, `not a ${type.name}: ${error}`);
  assert.equal(error.constructor, type);
  assert.equal(error.status, status);
  assert.ok(error.rawMessage);
  return error;
};

/** Deletes as Terraform does: settled, deleted, polled until it is gone. */
export const removeGateway = async (gatewayId, notFound) => {
  await settled(gatewayId);
  const answer = await vpn.deleteVpnGateway({ gatewayId });
  assert.equal(answer.status, 'deprovisioning');
  await failure(vpn.waitForVpnGateway({ gatewayId }, { timeout: 90, minDelay: 1, maxDelay: 1 }), notFound, 404);
};

export const cipher = { encryption: 'aes256gcm', integrity: 'sha384', dhGroup: 'curve25519' };
export const classic = { encryption: 'aes256', integrity: 'sha256', dhGroup: 'modp2048' };
export const esp = { encryption: 'chacha20poly1305', dhGroup: 'ecp256' };

export const customer = async (t, address, more = {}) => {
  const key = address.includes(':') ? 'ipv6Public' : 'ipv4Public';
  const made = await vpn.createCustomerGateway({ name: run, asn: 65020, tags: [run], [key]: address, ...more });
  t.after(() => vpn.deleteCustomerGateway({ gatewayId: made.id }));
  return made;
};

export const policy = async (t, isIpv6 = false) => {
  const made = await vpn.createRoutingPolicy({
    name: run,
    tags: [run],
    isIpv6,
    prefixFilterIn: [isIpv6 ? 'fd99::/48' : '10.99.0.0/16'],
    prefixFilterOut: [isIpv6 ? 'fd00::/8' : '10.78.0.0/24'],
  });
  t.after(() => vpn.deleteRoutingPolicy({ routingPolicyId: made.id }));
  return made;
};

export const request = (vpnGatewayId, peer, more = {}) => ({
  name: run,
  tags: [run],
  isIpv6: false,
  initiationPolicy: 'customer_gateway',
  ikev2Ciphers: [cipher],
  espCiphers: [esp, classic],
  enableRoutePropagation: false,
  vpnGatewayId,
  customerGatewayId: peer.id,
  ...more,
});

/** Hooks run in the order of their making, so what refers to others has to go before them: the caller deletes it. */
export const withConnection = async (wanted, use) => {
  const answer = await vpn.createConnection(wanted);
  assert.equal(answer.preSharedKey, '');
  try {
    return await use(answer.connection);
  } finally {
    await vpn.deleteConnection({ connectionId: answer.connection.id }).catch((error) => {
      if (error.status !== 404) throw error;
    });
  }
};

/** The answer of the extension API, which no SDK has. */
export const extension = async (path, body) => {
  const response = await fetch(`${env('SCW_API_URL')}/causeway/v1${path}`, {
    method: 'POST',
    headers: { 'X-Auth-Token': env('SCW_SECRET_KEY') },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return JSON.parse(text);
};

export const lock = (path, reason) => extension(path, reason ? { reason } : {});
