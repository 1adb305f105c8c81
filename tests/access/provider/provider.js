// An OpenID provider on loopback that gives JWT access tokens to two clients (RFC 6749, client credentials; RFC 9068).
// Its standard input takes one line for a new set of keys. It ends when its standard input ends.

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const KINDS = {
  RS256: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
  EdDSA: () => generateKeyPairSync("ed25519"),
};

function keys() {
  return Object.entries(KINDS).map(([alg, make]) => ({
    ...make().privateKey.export({ format: "jwk" }), alg, use: "sig", kid: `${alg}-${randomUUID()}`,
  }));
}

function provider(issuer) {
  return new Provider(issuer, {
    jwks: { keys: keys() },
    clients: ["door", "stranger"].map((client_id) => ({
      client_id, client_secret: `${client_id}-secret`, grant_types: ["client_credentials"], redirect_uris: [], response_types: [],
    })),
    enabledJWA: { idTokenSigningAlgValues: Object.keys(KINDS) },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        // The resource reads urn:{audience}:{algorithm}.
        getResourceServerInfo: (context, resource) => {
          const [, audience, alg] = resource.split(":");
          return { audience, scope: "verify", accessTokenFormat: "jwt", accessTokenTTL: 60, jwt: { sign: { alg } } };
        },
      },
    },
  });
}

let current;
const server = createServer((request, response) => current.callback()(request, response));
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  current = provider(issuer);
  console.log(issuer);
  createInterface({ input: process.stdin })
    .on("line", () => { current = provider(issuer); console.log("new keys"); })
    .on("close", () => process.exit(0));
});
