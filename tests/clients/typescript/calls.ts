// Calls of a client with the types that openapi-typescript generates into api.ts. Prints what the answers hold, as JSON.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Transfer = components["schemas"]["Transfer"];
const { COPPICE, API_KEY, PASSWORD } = process.env as Record<string, string>;
const headers = { "TREETRACKER-API-KEY": API_KEY };

/** Return the body of a success; an error ends the program. */
function done<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data === undefined) throw new Error(`${answer.response.status} ${JSON.stringify(answer.error)}`);
  return answer.data;
}

async function login(wallet: string) {
  const api = createClient<paths>({ baseUrl: COPPICE, headers });
  const { token } = done(await api.POST("/auth", { body: { wallet, password: PASSWORD } }));
  return createClient<paths>({ baseUrl: COPPICE, headers: { ...headers, Authorization: `Bearer ${token}` } });
}

const alice = await login("alice");
const bob = await login("bobby");
const listed = done(await alice.GET("/wallets", { params: { query: { limit: 10 } } }));
const order = {
  params: { header: { "Idempotency-Key": "order-1" } },
  body: { bundle: { bundle_size: 2 }, sender_wallet: "alice", receiver_wallet: "bobby" },
};
const sent: Transfer = done(await alice.POST("/transfers", order));
const again = await alice.POST("/transfers", order);
const path = { transfer_id: sent.id };
const accepted = done(await bob.POST("/transfers/{transfer_id}/accept", { params: { path }, body: {} }));
const tokens = done(await alice.GET("/transfers/{transfer_id}/tokens", { params: { path, query: { limit: 10 } } }));
const page = done(await alice.GET("/transfers", { params: { query: { limit: 10, state: "completed" } } }));
const refused = await alice.POST("/transfers", { body: order.body });
const trust = done(
  await alice.POST("/trust_relationships", { body: { trust_request_type: "send", requestee_wallet: "bobby" } }),
);
const events = done(await bob.GET("/events", { params: { query: { limit: 100 } } }));
const coins = done(await bob.GET("/api/v1/wallets"));
const begun = done(await bob.GET("/api/v1/echo"));
const task = done(await bob.GET("/api/v1/task/{task_id}", { params: { path: { task_id: begun.id } } }));

console.log(
  JSON.stringify({
    wallets: listed.wallets.map((each) => [each.name, each.tokens_in_wallet]),
    sent: [sent.state, sent.closed_at],
    replayed: again.response.headers.get("Idempotency-Replayed"),
    accepted: [accepted.state, "bundle" in accepted.parameters && accepted.parameters.bundle.bundleSize],
    tokens: tokens.tokens.length,
    transfers: page.transfers.map((each) => each.id === sent.id),
    refused: [refused.response.status, refused.error?.message],
    trust: [trust.state, trust.target_wallet],
    event: events.events.at(-1)?.type,
    coins: coins.wallets.map((each) => [each.name, each.balance]),
    task: [task.type, task.status, task.finished],
  }),
);
