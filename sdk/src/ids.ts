/** Ids that sort by time, so that the queue keeps the order of the calls. */

let last = 0;
let nth = 0;

/** A UUID of version 7. Two of one page never sort the wrong way round, even in one millisecond. */
export function newId(): string {
  const now = Date.now();
  nth = now > last ? 0 : nth + 1;
  last = Math.max(now, last);
  if (nth > 0xfff) {
    last++;
    nth = 0;
  }
  const random = crypto.getRandomValues(new Uint8Array(8));
  random[0] = (random[0]! & 0x3f) | 0x80; // The variant of RFC 9562.
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  const all = hex(last, 12) + "7" + hex(nth, 3) + [...random].map((byte) => hex(byte, 2)).join("");
  return all.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** A short fingerprint (FNV-1a), to notice another address without keeping one in the browser. */
export function fingerprint(text: string): string {
  let hash = 0x811c9dc5;
  for (const letter of text.trim().toLowerCase()) {
    hash = Math.imul(hash ^ letter.codePointAt(0)!, 0x01000193);
  }
  return (hash >>> 0).toString(36);
}
