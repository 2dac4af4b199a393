// The official JavaScript SDK (sdk-client 2.3.1) against a running service: the secret manager, whose package needs that client.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';

import { createClient, Errors } from '@scaleway/sdk-client';
import { Secretv1beta1 } from '@scaleway/sdk-secret';

const { SCW_API_URL, SCW_ACCESS_KEY, SCW_SECRET_KEY, SCW_DEFAULT_PROJECT_ID, SCW_DEFAULT_REGION } = process.env;
assert.ok(SCW_API_URL, 'source DIR/operator.env first');
const profile = {
  apiURL: SCW_API_URL, accessKey: SCW_ACCESS_KEY, secretKey: SCW_SECRET_KEY,
  defaultProjectId: SCW_DEFAULT_PROJECT_ID, defaultRegion: SCW_DEFAULT_REGION,
};
const secrets = new Secretv1beta1.API(createClient(profile));
const run = `js-${randomBytes(4).toString('hex')}`;
const missing = '0ae4cf90-0405-4318-a169-e45b3bef7676';
const encode = (text) => Buffer.from(text).toString('base64');

test('a secret and its versions', async () => {
  const secret = await secrets.createSecret({ name: run, type: 'opaque', protected: false, tags: ['a'], description: 'd' });
  const secretId = secret.id;
  assert.deepEqual([secret.path, secret.versionCount, secret.usedBy, secret.status], ['/', 0, [], 'ready']);
  const first = await secrets.createSecretVersion({ secretId, data: encode('one') });
  assert.deepEqual([first.revision, first.latest, first.status], [1, true, 'enabled']);
  const second = await secrets.createSecretVersion({ secretId, data: encode('two'), disablePrevious: true });
  assert.equal(second.revision, 2);
  const accessed = await secrets.accessSecretVersion({ secretId, revision: 'latest_enabled' });
  assert.equal(Buffer.from(accessed.data, 'base64').toString(), 'two');
  assert.equal((await secrets.getSecretVersion({ secretId, revision: '1' })).status, 'disabled');
  assert.equal((await secrets.enableSecretVersion({ secretId, revision: '1' })).status, 'enabled');
  assert.equal((await secrets.disableSecretVersion({ secretId, revision: '1' })).status, 'disabled');
  assert.equal((await secrets.updateSecretVersion({ secretId, revision: '2', description: 'e' })).description, 'e');
  assert.equal((await secrets.listSecretVersions({ secretId, pageSize: 1 }).all()).length, 2);
  assert.equal((await secrets.updateSecret({ secretId, tags: ['b'] })).tags[0], 'b');
  assert.equal((await secrets.getSecret({ secretId })).versionCount, 2);
  const found = await secrets.listSecrets({ name: run, scheduledForDeletion: false }).all();
  assert.deepEqual(found.map(({ id }) => id), [secretId]);
  assert.equal((await secrets.protectSecret({ secretId })).protected, true);
  await assert.rejects(secrets.deleteSecret({ secretId }), (error) => {
    assert.equal(error.constructor, Errors.PreconditionFailedError);
    assert.deepEqual([error.status, error.precondition], [412, 'protected_resource']);
    return true;
  });
  assert.equal((await secrets.unprotectSecret({ secretId })).protected, false);
  await secrets.deleteSecretVersion({ secretId, revision: '1' });
  await secrets.deleteSecret({ secretId });
  assert.deepEqual(await secrets.listSecrets({ name: run, scheduledForDeletion: false }).all(), []);
});

test('typed secrets, folders, owners and tags', async () => {
  const path = `/${run}`;
  const secret = await secrets.createSecret({ name: 'keys', type: 'key_value', protected: false, path, tags: [run] });
  const secretId = secret.id;
  await assert.rejects(secrets.createSecretVersion({ secretId, data: encode('{"a":1}') }), (error) => {
    assert.equal(error.constructor, Errors.InvalidArgumentsError);
    assert.deepEqual([error.details[0].argumentName, error.details[0].reason], ['data', 'format']);
    return true;
  });
  await secrets.createSecretVersion({ secretId, data: encode('{"a":"b"}') });
  const read = await secrets.accessSecretVersionByPath({ secretPath: path, secretName: 'keys', revision: 'latest' });
  assert.deepEqual([read.secretId, Buffer.from(read.data, 'base64').toString(), read.type], [secretId, '{"a":"b"}', 'key_value']);
  await secrets.addSecretOwner({ secretId, product: 's2s_vpn' });
  assert.deepEqual((await secrets.getSecret({ secretId })).usedBy, ['s2s_vpn']);
  assert.ok((await secrets.listTags({ pageSize: 1 }).all()).includes(run));
  assert.equal((await secrets.listSecretTypes({}).all()).length, 6);
  await secrets.deleteSecret({ secretId });
});

test('errors', async () => {
  const stranger = new Secretv1beta1.API(createClient({ ...profile, secretKey: missing }));
  for (const [attempt, type, status] of [
    [() => secrets.getSecret({ secretId: missing }), Errors.ResourceNotFoundError, 404],
    [() => secrets.createSecret({ name: '', type: 'opaque', protected: false }), Errors.InvalidArgumentsError, 400],
    [() => stranger.getSecret({ secretId: missing }), Errors.DeniedAuthenticationError, 401],
    // The SDK has no class for what is not offered: its generic error keeps status and body.
    [() => secrets.browseSecrets({ prefix: '/' }), Errors.ScalewayError, 501],
    [() => secrets.restoreSecret({ secretId: missing }), Errors.ScalewayError, 501],
    [() => secrets.restoreSecretVersion({ secretId: missing, revision: '1' }), Errors.ScalewayError, 501],
  ]) {
    await assert.rejects(attempt, (error) => {
      assert.equal(error.constructor, type);
      assert.equal(error.status, status);
      if (status === 501) assert.equal(error.body.type, 'not_implemented');
      return true;
    });
  }
});
