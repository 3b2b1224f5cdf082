// Asks again and again while the page is seen: at once when it comes back, ever more slowly while the server is away.

const EVERY_MS = 2000;
const SLOWEST_MS = 15_000;

/**
 * Calls `round` in turns. It returns whether the server answered; `onWait` hears the milliseconds until the next turn.
 * What comes back asks again now.
 */
export function poll(round, onWait) {
  let timer = null;
  let failures = 0;
  let running = false;
  let again = false;

  const turn = async () => {
    if (running) {
      again = true;
      return;
    }
    clearTimeout(timer);
    running = true;
    do {
      again = false;
      failures = (await round()) ? 0 : failures + 1;
    } while (again);
    running = false;
    if (document.hidden) return;
    const wait = Math.min(EVERY_MS * 2 ** Math.max(0, failures - 1), SLOWEST_MS);
    onWait(wait);
    timer = setTimeout(turn, wait);
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : turn()));
  turn();
  return turn;
}
