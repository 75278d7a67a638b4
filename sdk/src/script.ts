/** The script tag's build: `window.marketing`, after it has made the calls that its snippet took down. */

import { Marketing } from "./marketing";

type Call = [method: string, args: unknown[], resolve?: () => void, reject?: (error: unknown) => void];

const page = window as unknown as { marketing?: Call[] | Marketing; Marketing: typeof Marketing };
const early = page.marketing;

if (!early || Array.isArray(early)) {
  const marketing = new Marketing();
  const methods = marketing as unknown as Record<string, (...args: unknown[]) => Promise<void>>;
  page.marketing = marketing;
  page.Marketing = Marketing;
  for (const [method, args, resolve, reject] of early ?? []) {
    methods[method]?.(...args).then(resolve, reject);
  }
}
