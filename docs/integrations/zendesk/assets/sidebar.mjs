// The trust score of whoever opened the ticket, in Zendesk's sidebar. Zendesk puts the API key in on its own servers
// (secure settings), so that no agent's browser has it.

const HEADERS = { "X-TrustLens-API-Key": "{{setting.api_key}}" };
const NOT_FOUND = 404;

/** What TrustLens knows of the ticket's requester: {email, customer}, customer null if it knows nobody of that address. */
export async function requester(client) {
  const { "ticket.requester.email": email } = await client.get("ticket.requester.email");
  const { settings } = await client.metadata();
  if (!email) {
    return { email: null, customer: null };
  }
  try {
    return { email, customer: await client.request(lookup(settings.url, email)) };
  } catch (error) {
    if (error.status === NOT_FOUND) {
      return { email, customer: null };
    }
    throw error;
  }
}

/** The request as ZAF's client.request takes it. */
export function lookup(url, email) {
  return {
    url: `${url.replace(/\/+$/, "")}/wp-json/trustlens/v1/customers/lookup?email=${encodeURIComponent(email)}`,
    type: "GET",
    headers: HEADERS,
    secure: true,
    cors: false,
    dataType: "json",
    timeout: 5000,
  };
}

/** What an agent reads, line by line: [label, value]. */
export function lines(customer) {
  if (customer === null) {
    return [["Trust", "not a customer of this shop"]];
  }
  return [
    ["Trust", `${customer.trust_score} (${customer.segment_label})`],
    ["Orders", `${customer.total_orders}, ${customer.return_rate} % returned`],
    ...(customer.is_blocked ? [["Blocked", "may not check out"]] : []),
    ...(customer.is_allowlisted ? [["Allowlisted", "trusted whatever happens"]] : []),
    ...customer.signals.map((signal) => [`${signal.points > 0 ? "+" : ""}${signal.points}`, signal.reason]),
  ];
}

async function show(client, list) {
  let told;
  try {
    told = lines((await requester(client)).customer);
  } catch (error) {
    told = [["Trust", `TrustLens did not answer (${error.status || "no connection"})`]];
  }
  for (const [label, value] of told) {
    list.append(element("dt", label), element("dd", value));
  }
  client.invoke("resize", { width: "100%", height: `${list.scrollHeight + 16}px` });
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text; // never as HTML: reasons hold what shops and customers wrote
  return made;
}

if (typeof ZAFClient !== "undefined") {
  show(ZAFClient.init(), document.querySelector("dl"));
}
