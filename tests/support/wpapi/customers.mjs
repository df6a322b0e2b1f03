// Pages through customers as a WordPress client library does it: `node customers.mjs FOLDER URL KEY`.
import { createRequire } from "node:module";

const [folder, url, key] = process.argv.slice(2);
const WPAPI = createRequire(`${folder}/`)("wpapi");
const wp = new WPAPI({ endpoint: `${url}/wp-json`, username: "anybody", password: key, auth: true });
wp.customers = wp.registerRoute("trustlens/v1", "/customers/(?P<email_hash>[0-9a-f]{64})", {
  params: ["segment", "blocked", "order", "orderby"],
});

const emailHashes = [];
let totals;
let page = await wp.customers().segment("risk").orderby("total_orders").order("asc").perPage(50).get();
for (;;) {
  emailHashes.push(...page.map((customer) => customer.email_hash));
  totals = { total: page._paging.total, totalPages: page._paging.totalPages };
  if (!page._paging.next) {
    break;
  }
  page = await page._paging.next.get();
}
const one = await wp.customers().emailHash(emailHashes[0]).get();
const changed = await wp.customers().emailHash(emailHashes[0]).update({ is_blocked: true, reason: "by wpapi" });
let refused;
try {
  await wp.customers().emailHash("0".repeat(64)).get();
} catch (error) {
  refused = { code: error.code, status: error.data.status };
}
console.log(JSON.stringify({ emailHashes, ...totals, one, changed, refused }));
