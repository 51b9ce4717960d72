// The parts of the page that are read from the server when they are needed. While it is away (it is
// starting anew, the network has a gap) they are waited for: a page that is open stays.

const AGAIN_MS = 2_000;

/** Loads a part. One that a server which is there does not have is of another version: that fails. */
export async function patient<T>(load: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await load();
    } catch {
      if (await isServerThere()) return load();
      await new Promise((next) => setTimeout(next, AGAIN_MS));
    }
  }
}

const isServerThere = () =>
  fetch("/health/live", { cache: "no-store" }).then(
    ({ ok }) => ok,
    () => false,
  );
