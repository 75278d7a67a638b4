/** Who sits at this browser, as far as the page has told us. */

import { fingerprint, newId } from "./ids";
import type { Store } from "./store";
import type { Person } from "./types";

const ANONYMOUS = "anonymous";
const USER = "user";
const EMAIL = "email";
const DENIED = "denied";

export class Visitor {
  constructor(private readonly store: Store) {}

  /** Read anew each time: another tab may have signed somebody out. */
  ids(): { anonymousId: string; userId?: string } {
    let anonymousId = this.store.get(ANONYMOUS);
    if (!anonymousId) this.store.set(ANONYMOUS, (anonymousId = newId()));
    const userId = this.store.get(USER);
    return userId ? { anonymousId, userId } : { anonymousId };
  }

  /** Note who it is. If somebody else was here before, what follows belongs to a new visitor. */
  is({ userId, email }: Person): void {
    const [knownId, knownEmail] = [this.store.get(USER), this.store.get(EMAIL)];
    const mark = email && fingerprint(email);
    const another = userId ? knownId && knownId !== String(userId) : mark && knownEmail && knownEmail !== mark;
    if (another) this.forget();
    if (userId) this.store.set(USER, String(userId));
    if (mark) this.store.set(EMAIL, mark);
  }

  forget(): void {
    for (const name of [ANONYMOUS, USER, EMAIL]) this.store.remove(name);
  }

  deny(): void {
    this.store.set(DENIED, "1");
  }

  /** Whether this visitor wants no tracking: by word to this page, or by a setting of the browser. */
  get denied(): boolean {
    return !!this.store.get(DENIED);
  }
}

/** Do Not Track, or Global Privacy Control: nothing may be sent or stored. */
export function unwanted(): boolean {
  const asked = navigator as Navigator & { globalPrivacyControl?: boolean };
  return asked.doNotTrack === "1" || asked.globalPrivacyControl === true;
}
