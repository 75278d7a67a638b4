/** `import { marketing } from "@campanile/browser"`. */

import { Marketing } from "./marketing";

export { Marketing };
export type { Denial, Options, Person, Properties } from "./types";

/** The one that most pages need. `new Marketing()` makes others. */
export const marketing = new Marketing();
