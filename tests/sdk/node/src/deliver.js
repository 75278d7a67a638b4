// Delivers every kind of call by the official library for Node: deliver.js <host> <writeKey> <how many of each>.
import { Analytics } from "@segment/analytics-node";

const [host, writeKey, count] = process.argv.slice(2);
const analytics = new Analytics({ host, writeKey });
analytics.on("error", (error) => {
  console.error(error);
  process.exitCode = 1;
});

for (let n = 0; n < Number(count); n++) {
  const userId = `node-${n % 100}`;
  analytics.identify({ userId, traits: { n, email: `${userId}@example.com` } });
  analytics.track({ userId, event: "Node Tracked", properties: { n } });
  analytics.page({ userId, name: "Home", category: "Shop", properties: { n } });
  analytics.screen({ userId, name: "Home", properties: { n } });
  analytics.group({ userId, groupId: `group-${n % 10}`, traits: { n } });
  analytics.alias({ userId, previousId: `was-node-${n}` });
  if (n % 50 === 49) {
    console.log(n + 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
await analytics.closeAndFlush();
