// The calls of Greenstand's wallet-app on the web, in its order, by fetch. It sends no API key, which its proxy adds, and
// a bearer token that it did not get from /auth.
async ({base, bearer, wallet, receiver, manager}) => {
  const call = async (method, path, body) => {
    const headers = {Authorization: "Bearer " + bearer};
    if (!(body instanceof FormData)) headers["Content-Type"] = "application/json";
    const sent = body === undefined || body instanceof FormData ? body : JSON.stringify(body);
    const answer = await fetch(base + path, {method, headers, body: sent});
    return {status: answer.status, data: await answer.json()};
  };
  const list = (path, params) => call("GET", path + "?" + new URLSearchParams(params));
  const told = {};

  told.wallets = await list("/wallets", {limit: 10});
  told.created = await call("POST", "/wallets", {wallet: "garden", about: "x".repeat(600)});
  told.tokens = await list("/tokens", {wallet, limit: 100});
  const [first, second] = told.tokens.data.tokens;
  told.token = await call("GET", "/tokens/" + first.id);

  const send = (what, sender_wallet, receiver_wallet) =>
    call("POST", "/transfers", {...what, sender_wallet, receiver_wallet, claim: false});
  told.sent = await send({tokens: [first.id]}, wallet, "garden");
  told.history = await list(`/tokens/${first.id}/transactions`, {limit: 100});
  told.offered = await send({tokens: [second.id]}, wallet, receiver);
  told.bundle = await send({bundle: {bundle_size: 2}}, wallet, receiver);
  told.too_many = await send({bundle: {bundle_size: 1000}}, wallet, receiver);
  told.claimed = await call("POST", "/transfers", {
    bundle: {bundle_size: 1}, sender_wallet: wallet, receiver_wallet: receiver, claim: true});
  const order = {sort_by: "created_at", order: "desc"};
  told.recent = await list("/transfers", {limit: 5, ...order});
  told.pending = await list("/transfers", {limit: 100, state: "pending", ...order});
  told.requested = await list("/transfers", {limit: 100, state: "requested", ...order});
  told.filtered = await list("/transfers", {
    limit: 20, offset: 0, state: "pending", wallet: receiver, before: "2099-01-01", after: "2024-01-01", ...order});
  const id = told.offered.data.id;
  told.one = await call("GET", "/transfers/" + id);
  told.its_tokens = await list(`/transfers/${id}/tokens`, {limit: 100});
  told.cancelled = await call("DELETE", "/transfers/" + id);
  told.again = await call("DELETE", "/transfers/" + id);
  const incoming = told.pending.data.transfers.filter((each) => each.source_wallet === manager);
  told.accepted = await call("POST", `/transfers/${incoming[0].id}/accept`, {});
  told.declined = await call("POST", `/transfers/${incoming[1].id}/decline`, {});

  const form = new FormData();
  for (const [name, value] of Object.entries({display_name: "Walker", about: "five trees", add_to_web_map: "false"}))
    form.append(name, value);
  told.patched = await call("PATCH", "/wallets/" + told.wallets.data.wallets[0].id, form);
  told.link = await call("POST", "/action-tokens", {
    recipient_email: "link-recipient@greenstand.org", sender_wallet: wallet, bundle: {bundle_size: 1}});
  told.links = await list("/action-tokens", {limit: 100});
  return told;
}
