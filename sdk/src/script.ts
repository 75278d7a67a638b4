/** The script tag's build: `window.marketing`, after it has made the calls that its snippet took down. */

import { Marketing } from "./marketing";

type Call = [method: string, args: unknown[], resolve?: () => void, reject?: (error: unknown) => void];

const page = window as unknown as { marketing?: Call[] | Marketing; Marketing: typeof Marketing };
const early = page.marketing;

if (!early || Array.isArray(early)) {
  const marketing = new Marketing();
  const methods = marketing as unknown as Record<string, (...args: unknown[]) => Promise<void>>;
  const push = (...calls: Call[]) => {
    for (const [method, args, resolve, reject] of calls) methods[method]?.(...args).then(resolve, reject);
    return 0;
  };
  page.marketing = marketing;
  page.Marketing = Marketing;
  push(...(early ?? []));
  Object.assign(marketing, { push }); // For whoever still holds what the snippet made.
  if (early) early.push = push;
}
