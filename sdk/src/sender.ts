/**
 * The queue and the wire. Every event is a key of its own in localStorage until the server answers for it, so tabs
 * never overwrite each other. One tab sends at a time where the browser has locks; where it has none, or a page died
 * before the answer came, an event may go out twice, and the server keeps it once, by its messageId.
 */

import type { Store } from "./store";
import type { Answer, Event } from "./types";

const QUEUE = "q:";
const UNTIL = "until";
const REFUSED = "!";

const AT_MOST = 1000; // Events in the queue.
const IN_A_BATCH = 100;
const BYTES = 30_000; // In a batch: browsers let 64 KiB outlive a page, and two batches may be under way then.
const LINGER = 100; // Milliseconds in which calls gather.
const PATIENCE = 20_000; // Milliseconds for an answer.
const FIRST_PAUSE = 500; // Milliseconds, doubled at each failure.
const LONGEST_PAUSE = 60_000;
const LONGEST_WAIT = 3_600_000; // Of what a server may ask with Retry-After.
const LATER = [408, 425, 429];

interface Waiting {
  promise: Promise<void>;
  resolve: () => void;
  reject: (error: Error) => void;
}

export class Sender {
  private readonly waiting = new Map<string, Waiting>();
  private readonly underWay = new Map<string, number>(); // Bytes of what was sent and not answered, by name.
  private draining = false;
  private failures = 0;
  private pausedUntil = 0;
  private most = IN_A_BATCH;
  private timer = 0;
  private timerAt = Infinity;

  constructor(
    private readonly store: Store,
    private readonly url: string,
    private readonly key: string,
    private readonly log: (...what: unknown[]) => void,
  ) {
    addEventListener("storage", (change) => this.heard(change));
    addEventListener("online", () => this.hurry());
    addEventListener("pagehide", () => this.leave());
    addEventListener("pageshow", (shown) => {
      if (shown.persisted) this.wake();
    });
    document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && this.leave());
    this.soon(0);
  }

  /** Queue the event. The promise settles when the server has answered for it. */
  add(event: Event): Promise<void> {
    const waiting = this.names().length;
    if (waiting >= AT_MOST) throw new Error(`${waiting} events wait to be sent: this one is not kept.`);
    const name = QUEUE + event.messageId;
    this.store.set(name, JSON.stringify(event));
    this.log("queued", event);
    this.soon(LINGER);
    return this.answerFor(name);
  }

  /** Send now. Settles when everything that is in the queue now was answered for, whatever the answer. */
  async flush(): Promise<void> {
    const answers = this.names().map((name) => this.answerFor(name));
    this.hurry();
    await Promise.allSettled(answers);
  }

  private names(): string[] {
    return this.store.names(QUEUE);
  }

  private answerFor(name: string): Promise<void> {
    let waiting = this.waiting.get(name);
    if (!waiting) {
      let [resolve, reject]: [() => void, (error: Error) => void] = [() => {}, () => {}];
      const promise = new Promise<void>((yes, no) => ([resolve, reject] = [yes, no]));
      promise.catch(() => {}); // Whoever does not look at it is told in the console, and not by the browser.
      this.waiting.set(name, (waiting = { promise, resolve, reject }));
    }
    return waiting.promise;
  }

  /** The page was put away and comes back: what was under way may never be answered, and other tabs went on. */
  private wake(): void {
    this.underWay.clear();
    for (const name of this.waiting.keys()) if (this.store.get(name) === null) this.tell(name, "");
    this.hurry();
  }

  private hurry(): void {
    this.pausedUntil = 0;
    this.soon(0);
  }

  /** Wake up after so many milliseconds, but not while we pause or the server wants to be left alone. */
  private soon(delay: number): void {
    const now = Date.now();
    const at = Math.max(now + delay, this.pausedUntil, this.askedUntil(now));
    if (at >= this.timerAt) return;
    clearTimeout(this.timer);
    this.timerAt = at;
    this.timer = setTimeout(() => {
      this.timerAt = Infinity;
      void this.drain();
    }, at - now) as unknown as number;
  }

  /** Until when the server asked every tab to be left alone, or 0. What lies too far ahead is a clock that jumped. */
  private askedUntil(now: number): number {
    const until = Number(this.store.get(UNTIL));
    return until > now && until <= now + LONGEST_WAIT ? until : 0;
  }

  private async drain(): Promise<void> {
    if (this.draining) return;
    this.draining = true;
    try {
      while (await alone(this.store.prefix, () => this.sendSome(this.names())));
    } finally {
      this.draining = false;
      if (this.names().some((name) => !this.underWay.has(name))) this.soon(LINGER);
    }
  }

  /** Send the first of these that nobody is sending. Returns whether to go on at once. */
  private async sendSome(names: string[], leaving = false): Promise<boolean> {
    const now = Date.now();
    if (this.askedUntil(now) || (!leaving && this.pausedUntil > now)) return false;
    const batch = new Map<string, string>();
    let bytes = BYTES;
    for (const name of names) {
      const text = this.store.get(name);
      if (!text || this.underWay.has(name)) continue;
      if (text.startsWith(REFUSED)) {
        this.store.remove(name); // Its tab was told, or is gone.
        continue;
      }
      bytes -= size(text);
      if (batch.size >= this.most || (batch.size && bytes < 0)) break;
      batch.set(name, text);
    }
    return batch.size > 0 && this.post(batch, leaving);
  }

  private async post(batch: Map<string, string>, leaving: boolean): Promise<boolean> {
    const names = [...batch.keys()];
    const head = JSON.stringify({ key: this.key, sentAt: new Date().toISOString() }).slice(0, -1);
    const body = `${head},"events":[${[...batch.values()].join()}]}`; // As text/plain: no question beforehand.
    if (leaving && !("keepalive" in Request.prototype)) {
      navigator.sendBeacon(this.url, body); // Nobody hears the answer, so the next page sends it again.
      return false;
    }
    for (const [name, text] of batch) this.underWay.set(name, size(text));
    try {
      const response = await fetch(this.url, {
        method: "POST",
        body,
        credentials: "omit",
        keepalive: [...this.underWay.values()].reduce((all, one) => all + one) <= 2 * BYTES,
        signal: AbortSignal.timeout?.(PATIENCE) ?? null,
      });
      const answer = (await response.json().catch(() => ({}))) as Answer;
      return this.answered(names, response, answer);
    } catch (error) {
      this.log("no answer: offline, or this page's origin is not among the workspace's origins", error);
      return this.later(null);
    } finally {
      for (const name of names) this.underWay.delete(name);
    }
  }

  private answered(names: string[], response: Response, answer: Answer): boolean {
    const { status } = response;
    const taken = status === 202 && typeof answer.accepted === "number"; // Not by some proxy's page.
    if (!taken && (status < 400 || status >= 500 || LATER.includes(status))) {
      this.log("not now", status, answer);
      return this.later(response.headers.get("Retry-After"));
    }
    if (status === 413 && names.length > 1) {
      this.most = names.length >> 1;
      return true;
    }
    this.failures = 0;
    this.most = IN_A_BATCH;
    const reasons = new Map((answer.refused ?? []).map(({ index, detail }) => [index, detail]));
    names.forEach((name, index) => {
      const reason = reasons.get(index) ?? (taken ? "" : (answer.detail ?? answer.title ?? `HTTP ${status}`));
      this.settle(name, reason);
    });
    this.log("sent", names.length, answer);
    return true;
  }

  private settle(name: string, reason: string): void {
    if (reason) this.store.set(name, REFUSED + reason); // So that the tab that waits for it hears why.
    this.store.remove(name);
    this.tell(name, reason);
    const change = { key: this.store.prefix + name, newValue: reason ? REFUSED + reason : null };
    dispatchEvent(new StorageEvent("storage", change)); // The browser tells only the other tabs.
  }

  private tell(name: string, reason: string): void {
    const waiting = this.waiting.get(name);
    this.waiting.delete(name);
    if (reason) waiting?.reject(new Error(reason));
    else waiting?.resolve();
  }

  /** Another tab has sent an event of ours. */
  private heard({ key, newValue }: StorageEvent): void {
    if (!key?.startsWith(this.store.prefix + QUEUE)) return;
    const name = key.slice(this.store.prefix.length);
    if (newValue === null) this.tell(name, "");
    else if (newValue.startsWith(REFUSED)) this.tell(name, newValue.slice(REFUSED.length));
  }

  /** Try again after a pause, the server's own or one that grows. */
  private later(retryAfter: string | null): boolean {
    const now = Date.now();
    const asked = retryAfter && (Number(retryAfter) * 1000 || Date.parse(retryAfter) - now);
    if (asked) this.store.set(UNTIL, String(now + Math.min(asked, LONGEST_WAIT))); // All tabs look at it.
    const pause = Math.min(FIRST_PAUSE * 2 ** this.failures++, LONGEST_PAUSE);
    this.pausedUntil = now + pause * (0.5 + Math.random() / 2);
    this.soon(0);
    return false;
  }

  /** The page may be gone in a moment: send what only this tab knows of, without waiting for a lock. */
  private leave(): void {
    const mine = this.names().filter((name) => this.waiting.has(name));
    void this.sendSome(mine, true);
  }
}

/** One tab at a time, where the browser has locks for this page. */
async function alone<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
  let begun = false;
  try {
    return await navigator.locks.request(name, () => ((begun = true), work()));
  } catch (error) {
    if (begun) throw error;
    return work();
  }
}

/** Bytes on the wire. */
function size(text: string): number {
  return new Blob([text]).size;
}
