/** Strings under one prefix: in localStorage, or in memory where the browser refuses to store. */

export class Store {
  private readonly memory = new Map<string, string>();

  constructor(readonly prefix: string) {}

  get(name: string): string | null {
    return this.memory.get(name) ?? attempt(() => localStorage.getItem(this.prefix + name)) ?? null;
  }

  set(name: string, value: string): void {
    const kept = attempt(() => {
      localStorage.setItem(this.prefix + name, value);
      return true;
    });
    if (kept) this.memory.delete(name);
    else this.memory.set(name, value);
  }

  remove(name: string): void {
    this.memory.delete(name);
    attempt(() => localStorage.removeItem(this.prefix + name));
  }

  /** The names that begin so, sorted. Other tabs may have set some of them. */
  names(start: string): string[] {
    const stored = attempt(() => Object.keys(localStorage)) ?? [];
    const ours = stored.filter((key) => key.startsWith(this.prefix)).map((key) => key.slice(this.prefix.length));
    return [...ours, ...this.memory.keys()].filter((name) => name.startsWith(start)).sort();
  }
}

/** What `read` returns, or undefined where the browser forbids it or is full. */
function attempt<Result>(read: () => Result): Result | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
