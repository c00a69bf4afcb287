// What the page keeps on this device, beyond this visit, as JSON.

/**
 * @param {string} name
 * @returns {?any} What was kept; null if there is nothing, or the browser keeps nothing.
 */
export function recall(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {any} value
 */
export function keep(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Private windows and full disks: the page works, and forgets.
  }
}
