// A certified OpenID Connect provider over TLS, for tests. Commands come on standard input, one a
// line; each has one line of answer:
//   rotate        new keys, the old ones gone
//   sign JSON     a token of {"header": {…}, "claims": {…}} signed with the provider's own key
//   silent        no answer to anything any more until `speak`
//   requests      how often discovery and keys were asked for
// It ends with its standard input.
import { readFileSync } from 'node:fs';
import https from 'node:https';
import readline from 'node:readline';
import { CompactSign, exportJWK, generateKeyPair, importJWK } from 'jose';
import Provider from 'oidc-provider';

// Standard output is for answers alone.
console.info = console.error;
console.warn = console.error;

const [certificate, key] = process.argv.slice(2);
const loopback = ['http://127.0.0.1/callback'];
const client = (client_id, id_token_signed_response_alg) => ({
  client_id,
  id_token_signed_response_alg,
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  redirect_uris: loopback,
  grant_types: ['authorization_code'],
  response_types: ['code'],
});
const people = {
  alice: { email: 'alice@dockin.test', email_verified: true, groups: ['dev', 'ops'] },
  mallory: { email: 'alice@dockin.test', email_verified: false, groups: ['system:masters'] },
};

let issuer;
let keys;
let handler;
let silent = false;
let requests = 0;

async function newKeys() {
  const make = async (alg, kid) => {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid };
  };
  const series = Date.now().toString(36) + Math.random().toString(36).slice(2);
  keys = await Promise.all(['RS256', 'ES256', 'EdDSA'].map((alg) => make(alg, `${alg}-${series}`)));
  const provider = new Provider(issuer, {
    clients: [
      client('dockctl', 'RS256'),
      client('dockctl-es', 'ES256'),
      client('dockctl-ed', 'EdDSA'),
      client('other', 'RS256'),
    ],
    jwks: { keys },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
    conformIdTokenClaims: false,
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    pkce: { required: () => true },
    cookies: { keys: ['test'] },
    findAccount: async (_context, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, ...people[id] }),
    }),
  });
  handler = provider.callback();
}

async function sign({ header = {}, claims }) {
  const jwk = keys.find((each) => each.alg === (header.alg ?? 'RS256'));
  const payload = new TextEncoder().encode(JSON.stringify(claims));
  const full = { alg: jwk.alg, kid: jwk.kid, ...header };
  return new CompactSign(payload).setProtectedHeader(full).sign(await importJWK(jwk, jwk.alg));
}

const server = https.createServer(
  { cert: readFileSync(certificate), key: readFileSync(key) },
  (request, response) => {
    if (request.url.endsWith('/openid-configuration')) requests += 1;
    if (!silent) handler(request, response);
  },
);
server.listen(0, '127.0.0.1', async () => {
  issuer = `https://127.0.0.1:${server.address().port}`;
  await newKeys();
  console.log(issuer);
});

const input = readline.createInterface({ input: process.stdin });
input.on('line', async (line) => {
  const [word] = line.split(' ', 1);
  const rest = line.slice(word.length + 1);
  if (word === 'rotate') console.log(await newKeys().then(() => 'rotated'));
  else if (word === 'sign') console.log(await sign(JSON.parse(rest)));
  else if (word === 'silent' || word === 'speak') console.log((silent = word === 'silent'));
  else if (word === 'requests') console.log(requests);
  else console.log(`unknown: ${word}`);
});
input.on('close', () => process.exit(0));
