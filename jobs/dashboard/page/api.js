// Questions to the server. Answers that have not changed cost a 304: the browser keeps them with their ETags.

import { keep, read } from "./dom.js";

const KEY = "weir.key";
const PATIENCE_MS = 10_000;

/** The server did not answer, or says that it cannot at this moment. */
export class Away extends Error {}

/** The server refused: `detail` says why, in its own words. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const useKey = (key) => keep(sessionStorage, KEY, key);

/** Asks for a path with parameters; `null` and `undefined` are left out, arrays are repeated. */
export async function ask(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, values] of Object.entries(parameters)) {
    for (const value of [values].flat()) if (value != null) query.append(name, value);
  }
  const key = read(sessionStorage, KEY);
  let answer;
  let body;
  try {
    answer = await fetch(`${path}${query.size > 0 ? `?${query}` : ""}`, {
      headers: key ? { Authorization: `Bearer ${key}` } : {},
      cache: "no-cache",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    body = await answer.text();
  } catch {
    throw new Away("no answer");
  }
  if ([502, 503, 504].includes(answer.status)) throw new Away(detail(body) ?? `status ${answer.status}`);
  if (!answer.ok) throw new Refused(answer.status, detail(body) ?? `The server answered with status ${answer.status}.`);
  return JSON.parse(body);
}

/** What an RFC 9457 problem says. */
function detail(body) {
  try {
    const problem = JSON.parse(body);
    return problem.detail ?? problem.title ?? null;
  } catch {
    return null;
  }
}
