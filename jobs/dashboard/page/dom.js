// Small helpers over the DOM. Everything that comes from the server goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

/** An element with properties, attributes (those with a dash, and `class`, `role`, `scope`) and children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || ["class", "role", "scope", "for", "list"].includes(name))
      element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Sets a text, if it is another one: a node that does not change costs no layout and is not read out again. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A time with UTC on hover, as `format.clock` makes it. */
export function writeTime(element, { text, utc }) {
  write(element, text);
  if (element.title !== utc) element.title = utc;
}

export function read(storage, name) {
  try {
    return storage.getItem(name);
  } catch {
    return null;
  }
}

export function keep(storage, name, value) {
  try {
    if (value === null) storage.removeItem(name);
    else storage.setItem(name, value);
  } catch {
    // A browser that keeps nothing asks again next time.
  }
}
