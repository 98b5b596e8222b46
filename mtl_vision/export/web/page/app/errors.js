/** What the page tells the person in front of it, in plain words. */
export class PageError extends Error {}

/** `work()`'s result; whatever goes wrong in it is said as `words`. */
export async function orSay(words, work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof PageError) throw error;
    throw new PageError(`${words} (${String(error?.message ?? error).split("\n")[0].slice(0, 300)})`);
  }
}
