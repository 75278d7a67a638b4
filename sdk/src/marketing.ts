/** What a page calls. */

import { newId } from "./ids";
import { Sender } from "./sender";
import { Store } from "./store";
import type { Denial, Event, Options, Person, Properties } from "./types";
import { unwanted, Visitor } from "./visitor";

declare const VERSION: string; // The build puts it in.

const CAMPAIGN = ["source", "medium", "term", "content"];

/**
 * Tells Campanile what a visitor does.
 *
 * Every call returns a promise. It resolves when the event is durable on the server, rejects with an Error that says
 * why when the server refused it, and waits while the browser is offline: the event outlives this page. Where Do Not
 * Track or Global Privacy Control is set, nothing is sent or stored, and every promise resolves at once.
 */
export class Marketing {
  private sender?: Sender;
  private visitor?: Visitor;

  /** Begin. Calls before this one are refused. */
  async init({ apiKey, apiUrl, debug }: Options): Promise<void> {
    if (!apiKey?.startsWith("pk_")) throw new Error("apiKey has to be a public key, pk_…: every visitor can read it.");
    if (!/^https?:\/\//.test(apiUrl)) throw new Error("apiUrl has to begin with https:// or http://.");
    if (this.sender) throw new Error("init was called before. For another key, make a new Marketing().");
    const store = new Store("campanile:");
    this.visitor = new Visitor(store); // Who outlives a change of the key.
    if (unwanted()) {
      for (const name of store.names("")) store.remove(name);
      return;
    }
    const log = (...what: unknown[]) => void (debug && console.log("[campanile]", ...what));
    const queue = new Store(`campanile:${apiKey}:`);
    this.sender = new Sender(queue, apiUrl.replace(/\/+$/, "") + "/track/batch", apiKey, log);
  }

  /** Say who this is. */
  identify(person: Person): Promise<void> {
    return this.tell("identify", () => {
      this.visitor?.is(person);
      return given(person);
    });
  }

  /** Something happened. */
  track(name: string, properties: Properties = {}): Promise<void> {
    return this.tell("track", () => ({ name: named("name", name), properties }));
  }

  /** A page was seen. Its address, path, title and referrer come along. */
  page(name?: string, properties: Properties = {}): Promise<void> {
    return this.tell("page", () => ({ ...(name && { name }), properties: { ...page(), ...properties } }));
  }

  /** The visitor, or whoever was called `previousId`, is from now on called `userId`. */
  alias(userId: string | number, previousId?: string | number): Promise<void> {
    return this.tell("alias", ({ anonymousId }) => {
      named("userId", userId);
      if (!previousId) this.visitor?.is({ userId });
      return { userId: String(userId), previousId: String(previousId ?? anonymousId) };
    });
  }

  /** The visitor belongs to a group, such as a company. */
  group(groupId: string | number, traits: Properties = {}): Promise<void> {
    return this.tell("group", () => ({ groupId: String(named("groupId", groupId)), traits }));
  }

  /** The visitor takes consent back. After `tracking: "denied"` nothing else is sent from this browser. */
  consent(denial: Denial): Promise<void> {
    if (denial.tracking && !unwanted()) this.visitor?.deny();
    return this.tell("identify", () => ({ consent: denial }), true);
  }

  /** Somebody signed out: what follows belongs to a new visitor. */
  async reset(): Promise<void> {
    this.visitor?.forget();
  }

  /** Send now. Resolves when the server has answered for everything that waited. */
  async flush(): Promise<void> {
    await this.sender?.flush();
  }

  private tell(
    type: Event["type"],
    fields: (ids: { anonymousId: string }) => Partial<Event>,
    anyway = false,
  ): Promise<void> {
    const told = this.queue(type, fields, anyway);
    told.catch((error) => console.warn("[campanile]", error)); // Nobody has to look at the promise.
    return told;
  }

  /** Queues before it returns, so that the event is kept even if the page is left in the next moment. */
  private async queue(
    type: Event["type"],
    fields: (ids: { anonymousId: string }) => Partial<Event>,
    anyway: boolean,
  ): Promise<void> {
    if (!this.visitor) throw new Error("Call init({ apiKey, apiUrl }) first.");
    if (!this.sender || unwanted() || (this.visitor.denied && !anyway)) return;
    const special = fields(this.visitor.ids());
    await this.sender.add({
      type,
      messageId: newId(),
      timestamp: new Date().toISOString(),
      ...this.visitor.ids(),
      ...special,
      context: context(),
    });
  }
}

function named<Name extends string | number>(field: string, name: Name): Name {
  if (!name && name !== 0) throw new Error(`${field} is missing.`);
  return name;
}

function given({ email, userId, phone, traits }: Person): Partial<Event> {
  return {
    ...(email && { email }),
    ...(userId && { userId: String(userId) }),
    ...(phone && { phone }),
    traits: traits ?? {},
  };
}

function page(): Properties {
  const { href, pathname, search } = location;
  return { url: href, path: pathname, search, title: document.title, referrer: document.referrer };
}

function context(): Properties {
  const asked = new URLSearchParams(location.search);
  const campaign: Properties = {};
  for (const name of CAMPAIGN) if (asked.has("utm_" + name)) campaign[name] = asked.get("utm_" + name);
  if (asked.has("utm_campaign")) campaign["name"] = asked.get("utm_campaign");
  return {
    page: page(),
    locale: navigator.language,
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    library: { name: "@campanile/browser", version: VERSION },
    ...(Object.keys(campaign).length && { campaign }),
  };
}
