// The calls of Greenstand's wallet-admin-client 2.1.0, in its order: axios, which sends by XMLHttpRequest, and fetch for
// the decisions about trusts. Its base is `…/wallet/v2`.
async ({base, key, wallet, password, stranger, friend}) => {
  const standing = {"TREETRACKER-API-KEY": key};
  const call = (method, path, {params = {}, body, form} = {}) => new Promise((resolve) => {
    // axios leaves out what is null or undefined.
    const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value != null)).toString();
    const request = new XMLHttpRequest();
    request.open(method, base + path + (query && "?" + query));
    for (const [name, value] of Object.entries(standing)) request.setRequestHeader(name, value);
    if (body !== undefined) request.setRequestHeader("Content-Type", "application/json");
    request.onload = () => resolve({status: request.status, data: JSON.parse(request.responseText)});
    request.onerror = () => resolve({status: 0, data: "network error"});
    request.send(form || (body === undefined ? null : JSON.stringify(body)));
  });
  const decide = async (method, path) => {
    const answer = await fetch(base + path, {method, headers: {...standing, "Content-Type": "application/json"}});
    return {status: answer.status, ok: answer.ok, data: await answer.json()};
  };
  // As jwt-decode 3.1.2: base64url of UTF-8 JSON.
  const decoded = (token) => {
    const part = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = atob(part + "=".repeat((4 - part.length % 4) % 4));
    return JSON.parse(decodeURIComponent([...bytes].map(
      (each) => "%" + each.charCodeAt(0).toString(16).padStart(2, "0")).join("")));
  };
  const image = async (width, height, bytes) => {
    const canvas = Object.assign(document.createElement("canvas"), {width, height});
    canvas.getContext("2d").fillRect(0, 0, width, height);
    const png = await new Promise((resolve) => canvas.toBlob(resolve));
    return new File([png, new Uint8Array(bytes - png.size)], "picture.png", {type: "image/png"});
  };
  const shown = (url) => new Promise((resolve) => {
    const picture = new Image();
    picture.onload = () => resolve([picture.naturalWidth, picture.naturalHeight]);
    picture.onerror = () => resolve("not shown");
    picture.src = url;
  });
  const form = (fields) => {
    const made = new FormData();
    for (const [name, value] of Object.entries(fields)) made.append(name, value);
    return made;
  };
  const told = {};

  told.refused_login = await call("POST", "/auth", {body: {wallet, password: "wrong"}});
  told.login = await call("POST", "/auth", {body: {wallet, password}});
  told.claims = decoded(told.login.data.token);
  standing.Authorization = "Bearer " + told.login.data.token;
  const id = told.claims.id;

  // Home: its own wallet, what waits for it, and the wallets that it manages.
  told.own = await call("GET", "/wallets/" + id);
  told.pending = await call("GET", "/transfers", {params: {state: "pending", wallet}});
  told.badge = await call("GET", `/wallets/${id}/trust_relationships`, {params: {state: "requested"}});
  told.created = await call("POST", "/wallets", {body: {wallet: "grove"}});
  told.duplicate = await call("POST", "/wallets", {body: {wallet: "grove"}});
  told.managed = await call("GET", "/wallets", {params: {limit: 1000, sort_by: "created_at", order: "desc"}});
  const page = {offset: 0, limit: 10, sort_by: "name", order: "asc"};
  told.found = await call("GET", "/wallets", {params: {...page, name: "GROVE"}});
  told.second_page = await call("GET", "/wallets", {params: {...page, offset: 1, limit: 1, name: null}});

  // Transfers.
  const transfer = (receiver_wallet) => call("POST", "/transfers", {
    body: {bundle: {bundle_size: 2}, sender_wallet: wallet, receiver_wallet, claim: false}});
  told.sent = await transfer("grove");
  told.offered = await transfer(stranger);
  told.to_itself = await transfer(wallet);
  const today = new Date().toISOString().slice(0, 10);
  told.transfers = await call("GET", "/transfers", {
    params: {limit: 10, offset: 0, state: "pending", wallet: stranger, before: today, after: "2024-01-01"}});
  told.all_transfers = await call("GET", "/transfers", {params: {limit: 10, offset: 0, before: null, after: null}});

  // Trusts.
  told.asked = await call("POST", "/trust_relationships", {
    body: {trust_request_type: "send", requester_wallet: wallet, requestee_wallet: friend}});
  told.trusts = await call("GET", `/wallets/${id}/trust_relationships`, {params: {
    limit: 10, offset: 0, sort_by: "updated_at", order: "desc", search: friend, state: "requested", type: "send",
    request_type: "send"}});
  const waiting = await call("GET", `/wallets/${id}/trust_relationships`, {params: {state: "requested", type: "manage"}});
  told.waiting = waiting;
  const asked = waiting.data.trust_relationships[0].id;
  told.accepted = await decide("POST", `/trust_relationships/${asked}/accept`);
  told.declined = await decide("POST", `/trust_relationships/${asked}/decline`);
  told.deleted = await decide("DELETE", `/trust_relationships/${told.asked.data.id}`);
  told.not_its_own = await decide("DELETE", "/trust_relationships/11111111-1111-4111-8111-111111111111");

  // The profile. Its own check lets images of 1 MiB through.
  told.patched = await call("PATCH", "/wallets/" + id, {form: form({
    about: "<p>Trees &amp; <b>people</b></p>", display_name: "Grüne Bäume",
    cover_image: await image(64, 32, 1_048_576), logo_image: await image(32, 32, 1_048_576)})});
  told.cover = await shown(told.patched.data.cover_url);
  told.logo = await shown(told.patched.data.logo_url);
  told.too_large = await call("PATCH", "/wallets/" + id, {form: form({logo_image: await image(32, 32, 1_048_577)})});
  told.described = await call("GET", "/wallets/" + id);
  // It then sends the next body as a form, too, until the page is loaded again.
  told.form = await call("POST", "/wallets", {form: form({wallet: "thicket"})});

  standing.Authorization = "Bearer " + told.login.data.token.slice(0, -1);
  told.ended = await call("GET", "/wallets/" + id);
  return told;
}
